"""Files in a guest, opened by its agent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from atp_trio.errors import ConfigError, MalformedMessage, RemoteProtocolError
from atp_trio.protocols.qga.agent import QgaAgent
from atp_trio.protocols.qga.errand import Errands
from atp_trio.protocols.qga.message import decode_data, encode_data, member

__all__ = ["GuestFile", "acquire_guest_file", "open_guest_file"]

READ_SIZE: Final = 256 * 1024
"""Bytes to ask for at once. An answer of this size is the fastest through libvirt, which looks through all of an answer for its
end whenever a part of it has come."""
_SET: Final = 0
_END: Final = 2


class GuestFile:
    """An open file of a guest; `QgaProtocol.open_file` gives it.

    What a cancelled or failed call did to the position is made good by the next: it goes on where the last one ended that
    returned.

    Attributes:
        position: Where the next byte is read or written.
    """

    def __init__(self, agent: QgaAgent, handle: int) -> None:
        self._agent = agent
        self._handle = handle
        self._is_position_sure = True
        self.position = 0

    async def read(self, size: int = READ_SIZE) -> tuple[bytes, bool]:
        """Read what is there.

        Args:
            size: How many bytes at most; the agent makes room for so many.

        Returns:
            The bytes, and whether the file ends behind them. It may have grown when it is read the next time.

        Raises:
            AtpError: As `QgaProtocol.execute`.

        Cancellation: nothing is lost.
        """
        if size < 1:
            raise ConfigError(f"at least one byte is read, not {size}")
        value = await self._call("guest-file-read", count=size)
        data = decode_data(member(value, "buf-b64", str))
        if len(data) != member(value, "count", int) or len(data) > size:
            raise MalformedMessage("the guest agent did not give as many bytes of the file as it says, or as it was asked for")
        self._moved(len(data))
        return data, member(value, "eof", bool)

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write all of this.

        Raises:
            AtpError: As `QgaProtocol.execute`. That the disk is full, some agents tell only when the file is closed.

        Cancellation: some of it may have been written.
        """
        rest = memoryview(data).cast("B")
        while rest:
            piece = rest[: self._agent.max_data]
            value = await self._call("guest-file-write", **{"buf-b64": encode_data(piece)})
            count = member(value, "count", int)
            if not 0 < count <= len(piece):
                raise RemoteProtocolError("the guest agent wrote none of the bytes it was given, or more")
            self._moved(count)
            rest = rest[count:]

    async def seek(self, position: int) -> None:
        """Go to so many bytes from the beginning."""
        self.position, self._is_position_sure = position, False
        await self._be_sure()

    async def size(self) -> int:
        """How many bytes it has; for what is no file on a disk, what the guest says."""
        self._is_position_sure = False
        value = await self._agent.ask("guest-file-seek", handle=self._handle, offset=0, whence=_END)
        await self._be_sure()
        return member(value, "position", int)

    async def flush(self) -> None:
        """Give what was written to the guest's system."""
        await self._agent.ask("guest-file-flush", handle=self._handle)

    async def close(self) -> None:
        """Close it; what was written and could not be is an error. It can be used no more."""
        await self._agent.ask("guest-file-close", handle=self._handle)

    async def _call(self, command: str, **arguments: Any) -> Any:
        await self._be_sure()
        self._is_position_sure = False
        return await self._agent.ask(command, handle=self._handle, **arguments)

    def _moved(self, count: int) -> None:
        self.position += count
        self._is_position_sure = True

    async def _be_sure(self) -> None:
        if not self._is_position_sure:
            await self._agent.ask("guest-file-seek", handle=self._handle, offset=self.position, whence=_SET)
            self._is_position_sure = True


@asynccontextmanager
async def open_guest_file(agent: QgaAgent, errands: Errands, path: str, mode: str) -> AsyncIterator[GuestFile]:
    """As `QgaProtocol.open_file`."""
    file = await acquire_guest_file(agent, errands, path, mode)
    try:
        yield file
    except BaseException:
        errands.start(file.close)
        raise
    await file.close()


async def acquire_guest_file(agent: QgaAgent, errands: Errands, path: str, mode: str) -> GuestFile:
    """Open a file, which is to be closed."""

    async def open_it() -> GuestFile:
        handle = await agent.ask("guest-file-open", path=path, mode=mode)
        if type(handle) is not int:
            raise MalformedMessage("the guest agent's handle of a file is no number")
        return GuestFile(agent, handle)

    return await errands.acquire(open_it, GuestFile.close)
