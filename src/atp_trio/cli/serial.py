"""`atp serial`: a port or a console of a domain, as a pipe."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated, Final

import attrs
import trio
from cyclopts import Parameter

from atp_trio.background import open_background
from atp_trio.cli.access import NotNegative, within
from atp_trio.cli.host import DomainArgument, HostAccess, HostUriArgument, connect_host

if TYPE_CHECKING:
    from atp_trio.hypervisor.domain import Domain

_CHUNK: Final = 1 << 16


async def serial(
    uri: HostUriArgument,
    domain: DomainArgument,
    port: Annotated[
        str,
        Parameter(
            name="PORT",
            help="A virtio-serial port's name; the alias of a console or serial port, like serial0; or console, for the first.",
        ),
    ],
    /,
    *,
    linger: Annotated[
        float, Parameter(help="When the input has ended, end after so many seconds without output."), NotNegative
    ] = 1.0,
    force: Annotated[bool, Parameter(help="Take the port from who has it.")] = False,
    access: HostAccess = HostAccess(),  # noqa: B008 - frozen
) -> None:
    """Send standard input to a port of the guest, and write what comes from there to standard output."""
    from atp_trio.protocols.framing import RawFraming
    from atp_trio.protocols.virtio_serial import VirtioSerialProtocol

    async with connect_host(uri, access) as host, VirtioSerialProtocol(RawFraming()) as protocol:
        with within(access.timeout, "the host did not answer"):
            found: Domain = await host.domain(domain)
            await protocol.connect(found, port, force=force)
        await _Pipe(protocol.stream, linger).run()


@attrs.define(eq=False)
class _Pipe:
    """Both ways, until the stream ends, or the input has and nothing comes any more."""

    stream: trio.abc.Stream
    linger: float
    is_input_ended: bool = False
    silence: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    """Of what is waited for now; without a deadline while there is input."""
    failure: Exception | None = None

    async def run(self) -> None:
        async with open_background() as nursery:
            nursery.start_soon(self._send)
            await self._receive()
        if self.failure is not None:
            raise self.failure

    async def _send(self) -> None:
        try:
            while data := await trio.to_thread.run_sync(_read, abandon_on_cancel=True):
                await self.stream.send_all(data)
        except Exception as error:  # noqa: BLE001 - raised by `run`, after what had come was written
            self.failure = error
        self.is_input_ended = True
        self.silence.deadline = trio.current_time() + self.linger

    async def _receive(self) -> None:
        while True:
            self.silence = trio.CancelScope()
            if self.is_input_ended:
                self.silence.deadline = trio.current_time() + self.linger
            with self.silence:
                data = await self.stream.receive_some()
            if self.silence.cancelled_caught or not data:
                return
            await trio.to_thread.run_sync(_write, data, abandon_on_cancel=True)


def _read() -> bytes:
    # By the descriptor: a thread left in a buffered reader would hold its lock when the interpreter ends.
    return os.read(sys.stdin.fileno(), _CHUNK)


def _write(data: bytes | bytearray) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
