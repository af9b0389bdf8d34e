"""The webdav channel: a port whose bytes are several connections to a folder-sharing server, in frames.

Source: section 15.3 of the protocol reference.
"""

from __future__ import annotations

from atp_trio.spice.wire import Record, record
from atp_trio.spice.wire.field import counted_bytes, i64, u16

PORT_NAME = b"org.spice-space.webdav.0\0"


@record
class MuxFrame(Record):
    """Bytes of one connection; none close it."""

    client_id: int = i64()
    """Chosen by the guest's side."""
    data: bytes = counted_bytes(u16(), secret=True)
    """At most 65535 bytes."""
