"""Kernel modules: what depends on what, and what drives which device, read from the modules themselves.

A package holds modules but not the tables that `depmod` makes of them when it is installed, so they are made here.

Source: the `.modinfo` section of a module (strings `key=value`), modules.dep(5).
"""

from __future__ import annotations

import gzip
import lzma
import re
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path

import attrs

from atp_trio.testing.guest.packages import GuestUnavailable


@attrs.frozen
class Module:
    """A kernel module."""

    name: str
    """With underscores, as the kernel says it."""
    code: bytes = attrs.field(repr=False)
    """The ELF file, uncompressed."""
    depends: tuple[str, ...]
    """Modules that must be loaded before it."""
    prefers: tuple[str, ...]
    """Modules that should be loaded before it where the kernel has them."""
    aliases: tuple[str, ...]
    """Patterns of the devices it drives, as in `pci:v00001B36d00000100sv*`."""


def parse_module(name: str, code: bytes) -> Module:
    """Read what a module says of itself.

    Raises:
        GuestUnavailable: It is no 64-bit ELF file with a `.modinfo` section.
    """
    pairs = [entry.partition("=")[::2] for entry in _modinfo(name, code).decode("utf-8", "replace").split("\0")]
    depends = [word for key, value in pairs if key == "depends" for word in value.split(",")]
    prefers = [
        word
        for key, value in pairs
        if key == "softdep" and value.startswith("pre:")
        for word in value.removeprefix("pre:").partition("post:")[0].split()
    ]
    aliases = tuple(value for key, value in pairs if key == "alias")
    return Module(name, code, _names(depends), _names(prefers), aliases)


def _names(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(word.replace("-", "_") for word in words if word)


def _modinfo(name: str, code: bytes) -> bytes:
    """The `.modinfo` section of an ELF file."""
    try:
        if code[:6] != b"\x7fELF\x02\x01":
            raise GuestUnavailable(f"kernel module {name} is no 64-bit ELF file")
        (table,) = struct.unpack_from("<Q", code, 0x28)
        entry_size, count, names_index = struct.unpack_from("<3H", code, 0x3A)
        # (name, type, flags, address, offset, size) of each section
        sections = [struct.unpack_from("<IIQQQQ", code, table + i * entry_size) for i in range(count)]
        names = sections[names_index][4]
        for section in sections:
            if code.startswith(b".modinfo\0", names + section[0]):
                return code[section[4] : section[4] + section[5]]
    except (struct.error, IndexError, OverflowError) as error:
        raise GuestUnavailable(f"kernel module {name} is damaged: {error}") from error
    raise GuestUnavailable(f"kernel module {name} has no .modinfo section")


class ModuleTree:
    """The modules of an unpacked kernel package."""

    def __init__(self, directory: Path) -> None:
        self._paths = {_module_name(path): path for path in directory.rglob("*.ko*")}
        built_in = directory / "modules.builtin"
        self._built_in = {_module_name(Path(line)) for line in built_in.read_text().splitlines()} if built_in.exists() else set()

    def closure(self, names: Iterable[str]) -> dict[str, Module]:
        """These modules and all they depend on, each after what it depends on; none for what is built into the kernel.

        Raises:
            GuestUnavailable: The kernel has no such module.
        """
        ordered: dict[str, Module] = {}
        seen = set(self._built_in)

        def visit(name: str, wanted_by: str) -> None:
            if name in seen:
                return
            seen.add(name)
            if name not in self._paths:
                raise GuestUnavailable(f"this kernel has no module {name}, which {wanted_by} needs: use Debian's stock kernel")
            module = parse_module(name, _read(self._paths[name]))
            for other in (*module.depends, *(wish for wish in module.prefers if wish in self._paths)):
                visit(other, name)
            ordered[name] = module

        for name in names:
            visit(name, "the guest")
        return ordered


def _module_name(path: Path) -> str:
    return re.sub(r"\.ko(\.\w+)?$", "", path.name).replace("-", "_")


def _read(path: Path) -> bytes:
    data = path.read_bytes()
    try:
        match path.suffix:
            case ".ko":
                return data
            case ".xz":
                return lzma.decompress(data)
            case ".gz":
                return gzip.decompress(data)
    except (lzma.LZMAError, zlib.error, gzip.BadGzipFile, EOFError) as error:
        raise GuestUnavailable(f"kernel module {path.name} is damaged: {error}") from error
    raise GuestUnavailable(f"kernel module {path.name} is compressed in an unknown way")


def dependency_table(modules: dict[str, Module]) -> str:
    """The content of modules.dep: of each module, all that must be loaded first, the first to load last.

    Args:
        modules: As `ModuleTree.closure` gives them, each after what it depends on.
    """
    below: dict[str, set[str]] = {}
    for name, module in modules.items():
        direct = [other for other in (*module.depends, *module.prefers) if other in below]
        below[name] = set(direct).union(*(below[other] for other in direct))
    rows = {name: " ".join(f"{other}.ko" for other in reversed(modules) if other in below[name]) for name in modules}
    return "".join(f"{name}.ko: {needed}\n" for name, needed in rows.items())


def alias_table(modules: dict[str, Module]) -> str:
    """The content of modules.alias: patterns of devices, and the module for each."""
    return "".join(f"alias {alias} {module.name}\n" for module in modules.values() for alias in module.aliases)
