"""What SPICE says: one module a channel type, data only, every message declared once.

Names are those of the protocol's own description: `display.DrawCopy`, `inputs.KeyDown`; enumerations drop the prefix of the C
headers: `image.ImageType.GLZ_RGB`. A message that both roles send with one layout is one class with two numbers.

Importing this package fills the catalogue (`atp_trio.spice.wire.table`).
"""

from atp_trio.spice.messages import (
    base,
    cursor,
    display,
    geometry,
    image,
    inputs,
    link,
    main,
    playback,
    port,
    record,
    smartcard,
    spicevmc,
    usbredir,
    vdagent,
    webdav,
)

__all__ = [
    "base",
    "cursor",
    "display",
    "geometry",
    "image",
    "inputs",
    "link",
    "main",
    "playback",
    "port",
    "record",
    "smartcard",
    "spicevmc",
    "usbredir",
    "vdagent",
    "webdav",
]
