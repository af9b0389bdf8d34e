"""The initramfs: a cpio archive in the "newc" format, written without root; everything in it belongs to root.

Source: Documentation/driver-api/early-userspace/buffer-format.rst of Linux.
"""

from __future__ import annotations

import stat
from pathlib import Path, PurePosixPath

import attrs


@attrs.frozen
class _Entry:
    mode: int
    content: bytes = b""
    device: tuple[int, int] = (0, 0)  # major, minor


@attrs.define(eq=False)
class Image:
    """A file tree in the making. Directories come by themselves."""

    _entries: dict[str, _Entry] = attrs.field(factory=dict, repr=False)

    def file(self, path: str, content: bytes, *, executable: bool = False) -> None:
        """Add a file, or replace it."""
        self._add(path, _Entry(stat.S_IFREG | (0o755 if executable else 0o644), content))

    def link(self, path: str, target: str) -> None:
        """Add a symbolic link, or replace it."""
        self._add(path, _Entry(stat.S_IFLNK | 0o777, target.encode()))

    def directory(self, path: str) -> None:
        """Add a directory."""
        if path not in self._entries:
            self._add(path, _Entry(stat.S_IFDIR | 0o755))

    def device(self, path: str, major: int, minor: int) -> None:
        """Add a character device."""
        self._add(path, _Entry(stat.S_IFCHR | 0o600, device=(major, minor)))

    def copy(self, path: str, source: Path) -> None:
        """Add a file or a link as it is on this machine."""
        if source.is_symlink():
            self.link(path, str(source.readlink()))
        else:
            self.file(path, source.read_bytes(), executable=bool(source.stat().st_mode & stat.S_IXUSR))

    def archive(self) -> bytes:
        """The cpio archive; the same tree gives the same bytes."""
        records = [_record(number, path, entry) for number, (path, entry) in enumerate(self._entries.items(), 1)]
        return b"".join([*records, _record(0, "TRAILER!!!", _Entry(0))])

    def _add(self, path: str, entry: _Entry) -> None:
        # A directory must come before what is in it.
        parent = PurePosixPath(path).parent.as_posix()
        if parent != ".":
            self.directory(parent)
        self._entries[path] = entry


def _record(number: int, path: str, entry: _Entry) -> bytes:
    name = path.encode() + b"\0"
    # inode, mode, uid, gid, links, time, size, device (2), device this stands for (2), length of the name, checksum (none)
    fields = (number, entry.mode, 0, 0, 1, 0, len(entry.content), 0, 0, *entry.device, len(name), 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields)
    return _padded(header + name) + _padded(entry.content)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
