"""The guest, built from its recipe and kept for the next time."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import attrs

from atp_trio.testing.guest.image import Image
from atp_trio.testing.guest.kernel import extract_vmlinux
from atp_trio.testing.guest.modules import ModuleTree, alias_table, dependency_table
from atp_trio.testing.guest.packages import GuestUnavailable, Package, download, find_files, kernel_package, resolve, unpack
from atp_trio.testing.guest.parts import STANDARD_PARTS
from atp_trio.testing.guest.program import compile_program
from atp_trio.testing.guest.recipe import KERNEL_COMMAND_LINE, Part, inittab, ready_script, setup_script

_KEPT = 3  # guests of other versions that stay: a checkout of another branch finds its own again (85 MB each)


@attrs.frozen
class Guest:
    """The files that QEMU starts the guest from."""

    kernel: Path
    """An ELF kernel, for `-kernel`; QEMU starts it through PVH."""
    initramfs: Path
    """An uncompressed cpio archive, for `-initrd`."""
    command_line: str
    """For `-append`."""


def cache_directory() -> Path:
    """Where guests and packages are kept: `$XDG_CACHE_HOME/atp-trio`, by default `~/.cache/atp-trio`."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    # A relative path is to be ignored, says the XDG Base Directory Specification.
    return (Path(home) if home.startswith("/") else Path.home() / ".cache") / "atp-trio"


def build_guest(parts: Sequence[Part] = STANDARD_PARTS, *, cache: Path | None = None) -> Guest:
    """Build the guest, or find it built.

    The first time takes seconds and downloads about 72 MB; it is built again when the parts, this package's source or
    the versions of the Debian packages change. Safe when several processes build at once.

    Args:
        parts: What is in the guest; `STANDARD_PARTS` and more.
        cache: Where it is kept; `cache_directory()` if none.

    Raises:
        GuestUnavailable: Packages or tools are missing; the sentence says what to do.
    """
    cache = cache or cache_directory()
    names = sorted({kernel_package(), *(name for part in parts for name in part.packages)})
    packages = resolve(names)
    directory = cache / f"guest-{_key(parts, packages)}"
    if not directory.is_dir():
        archives = download(names, packages, cache / "packages")  # makes `cache`, too
        with tempfile.TemporaryDirectory(dir=cache, prefix="building-") as workshop:
            _build(tuple(parts), archives, Path(workshop))
            _put_in_place(Path(workshop) / "guest", directory)
        _prune(cache, directory, packages)
    directory.touch()
    return Guest(directory / "vmlinux", directory / "initramfs.cpio", KERNEL_COMMAND_LINE)


def _key(parts: Sequence[Part], packages: Sequence[Package]) -> str:
    digest = hashlib.sha256(repr((parts, packages)).encode())
    for source in sorted(path for path in Path(__file__).parent.iterdir() if path.suffix in (".py", ".c", ".h")):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def _build(parts: tuple[Part, ...], archives: Sequence[Path], workshop: Path) -> None:
    tree, guest = workshop / "tree", workshop / "guest"
    guest.mkdir()
    unpack(archives, tree)
    kernel = next(tree.glob("boot/vmlinuz-*"), None)
    if kernel is None:
        raise GuestUnavailable("the kernel's package holds no /boot/vmlinuz: use Debian's stock kernel")
    image = _image(parts, tree, release=kernel.name.removeprefix("vmlinuz-"))
    (guest / "vmlinux").write_bytes(extract_vmlinux(kernel.read_bytes()))
    (guest / "initramfs.cpio").write_bytes(image.archive())


def _image(parts: tuple[Part, ...], tree: Path, release: str) -> Image:
    image = Image()
    for directory in ("dev", "proc", "sys", "tmp", "etc", "usr/bin", "usr/sbin", "usr/lib", "usr/lib64"):
        image.directory(directory)
    for name in ("bin", "sbin", "lib", "lib64"):
        image.link(name, f"usr/{name}")
    image.device("dev/console", 5, 1)  # init's standard streams, before /dev is mounted
    for part in parts:
        for pattern in part.files:
            for path, source in find_files(tree, pattern).items():
                image.copy(path, source)
        for path, target in part.links.items():
            image.link(path, target)
        for path, text in part.texts.items():
            image.file(path, text.encode(), executable=text.startswith("#!"))
        for path, source_name in part.programs.items():
            image.file(path, compile_program(source_name), executable=True)
    _add_modules(image, parts, tree, release)
    image.file("etc/inittab", inittab(parts).encode())
    image.file("etc/setup", setup_script(parts).encode(), executable=True)
    image.file("etc/ready", ready_script(parts).encode(), executable=True)
    return image


def _add_modules(image: Image, parts: tuple[Part, ...], tree: Path, release: str) -> None:
    where = f"usr/lib/modules/{release}"
    (directory,) = find_files(tree, where).values()
    modules = ModuleTree(directory).closure(name for part in parts for name in (*part.modules, *part.drivers))
    for module in modules.values():
        image.file(f"{where}/{module.name}.ko", module.code)
    image.file(f"{where}/modules.dep", dependency_table(modules).encode())
    image.file(f"{where}/modules.alias", alias_table(modules).encode())


def _put_in_place(built: Path, directory: Path) -> None:
    try:
        built.rename(directory)
    except OSError:
        # Another process was faster; what it built is the same.
        if not directory.is_dir():
            raise


def _prune(cache: Path, used: Path, packages: Sequence[Package]) -> None:
    guests = sorted((path for path in cache.glob("guest-*") if path != used), key=lambda path: path.stat().st_mtime)
    for old in guests[: -(_KEPT - 1)]:
        shutil.rmtree(old, ignore_errors=True)
    current = {package.file_name for package in packages}
    for archive in (cache / "packages").glob("*.deb"):
        if archive.name not in current:
            archive.unlink(missing_ok=True)
