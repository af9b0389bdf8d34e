"""Whole files to and from a guest."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

from atp_trio.errors import MalformedMessage
from atp_trio.protocols.qga.agent import QgaAgent
from atp_trio.protocols.qga.errand import Errands
from atp_trio.protocols.qga.file import READ_SIZE, GuestFile, open_guest_file

__all__ = ["Progress", "Transfers"]


@attrs.frozen
class Progress:
    """How far a transfer has come."""

    done: int
    """Bytes."""
    total: int | None
    """Bytes in all; None where nobody knows."""


ProgressChannel = trio.MemorySendChannel[Progress]


@attrs.define(eq=False)
class Transfers:
    """The transfers of one connection."""

    _agent: QgaAgent
    _errands: Errands

    async def read_file(self, path: str, *, max_size: int) -> bytes:
        """As `QgaProtocol.read_file`."""
        found = bytearray()
        async with open_guest_file(self._agent, self._errands, path, "r") as file:
            is_end = False
            while not is_end:
                data, is_end = await _read_some(file)
                found += data
                if len(found) > max_size:
                    raise MalformedMessage(f"the guest's file has more than {max_size} bytes")
        return bytes(found)

    async def write_file(self, path: str, data: bytes | bytearray | memoryview) -> None:
        """As `QgaProtocol.write_file`."""
        async with open_guest_file(self._agent, self._errands, path, "w") as file:
            await file.write(data)

    async def get(self, remote: str, local: Path, progress: ProgressChannel | None) -> None:
        """As `QgaProtocol.get`."""
        async with open_guest_file(self._agent, self._errands, remote, "r") as file:
            total = await _size(file) if progress is not None else None
            async with _replacing(trio.Path(local)) as write:
                is_end = False
                while not is_end:
                    data, is_end = await _read_some(file)
                    await write(data)
                    _tell(progress, file.position, total)

    async def put(self, local: Path, remote: str, progress: ProgressChannel | None) -> None:
        """As `QgaProtocol.put`."""
        async with await trio.open_file(local, "rb") as source:
            size = os.fstat(source.fileno()).st_size
            async with open_guest_file(self._agent, self._errands, remote, "w") as file:
                while data := await source.read(self._agent.max_data):
                    await file.write(data)
                    _tell(progress, file.position, max(size, file.position))


async def _read_some(file: GuestFile) -> tuple[bytes, bool]:
    data, is_end = await file.read(READ_SIZE)
    # What is no file on a disk (/proc, a device) may give less than was asked for before its end.
    return data, is_end or not data


async def _size(file: GuestFile) -> int | None:
    size = await file.size()
    return size or None


def _tell(progress: ProgressChannel | None, done: int, total: int | None) -> None:
    if progress is not None:
        with contextlib.suppress(trio.WouldBlock, trio.BrokenResourceError):
            progress.send_nowait(Progress(done, total))


@asynccontextmanager
async def _replacing(path: trio.Path) -> AsyncIterator[Callable[[bytes], Awaitable[object]]]:
    """Write a file that is there when it is whole; what is no file (a device, a pipe) is written as it is."""
    if await path.exists() and not await path.is_file():
        async with await trio.open_file(path, "wb") as file:
            yield file.write
        return
    part = path.with_name(f".{path.name}.part")
    try:
        async with await trio.open_file(part, "wb") as file:
            yield file.write
        await part.replace(path)
    except BaseException:
        with trio.CancelScope(shield=True):
            await part.unlink(missing_ok=True)
        raise
