"""The guest's builder, with apt and dpkg played by small scripts; that the guest boots is an integration test."""

from __future__ import annotations

import contextlib
import gzip
import lzma
import os
import shutil
import stat
import struct
import subprocess
import zlib
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atp_trio.testing.guest import READY_MARKER, STANDARD_PARTS, Guest, GuestUnavailable, Part, build_guest, program, recipe
from atp_trio.testing.guest.build import cache_directory
from atp_trio.testing.guest.image import Image
from atp_trio.testing.guest.kernel import extract_vmlinux
from atp_trio.testing.guest.modules import ModuleTree, alias_table, dependency_table, parse_module
from atp_trio.testing.guest.packages import find_files

KERNEL = b"\x7fELF" + bytes(range(256)) * 8


def bz_image(payload, *, setup_sects=2, magic=b"HdrS", version=0x20F):
    """A kernel image as the boot protocol says: setup code, then something, then the payload."""
    gap = 100
    image = bytearray(((setup_sects or 4) + 1) * 512 + gap) + payload + b"after the payload"
    image[0x1F1] = setup_sects
    image[0x202:0x208] = magic + struct.pack("<H", version)
    image[0x248:0x250] = struct.pack("<II", gap, len(payload))
    return bytes(image)


def module_file(**info):
    """A 64-bit ELF file with a `.modinfo` section; a list as value repeats the key."""
    pairs = [(key, value) for key, values in info.items() for value in ([values] if isinstance(values, str) else values)]
    modinfo = b"".join(f"{key}={value}\0".encode() for key, value in pairs)
    names = b"\0.modinfo\0.shstrtab\0"
    header = b"\x7fELF\x02\x01".ljust(0x28, b"\0") + struct.pack("<Q", 64 + len(modinfo) + len(names))
    header = header.ljust(0x3A, b"\0") + struct.pack("<3H", 64, 3, 2)

    def section(name, offset, size):
        return struct.pack("<IIQQQQ", name, 1, 0, 0, offset, size).ljust(64, b"\0")

    sections = section(0, 0, 0) + section(1, 64, len(modinfo)) + section(10, 64 + len(modinfo), len(names))
    return header + modinfo + names + sections


def read_cpio(archive):
    """Path to (mode, content, device), in the archive's order."""
    entries, at = {}, 0
    while True:
        assert at % 4 == 0
        fields = [int(archive[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        assert archive[at : at + 6] == b"070701"
        start = at + 110
        name = archive[start : start + fields[11]]
        assert name.endswith(b"\0")
        content_at = (start + fields[11] + 3) & ~3
        content = archive[content_at : content_at + fields[6]]
        at = (content_at + fields[6] + 3) & ~3
        if name == b"TRAILER!!!\0":
            assert at == len(archive)
            return entries
        assert fields[2:4] == [0, 0]
        entries[name[:-1].decode()] = (fields[1], content, tuple(fields[9:11]))


# ---------------------------------------------------------------------------------------------------- the kernel


@pytest.mark.parametrize("setup_sects", [0, 2, 40])
@pytest.mark.parametrize("pack", [lzma.compress, gzip.compress])
def test_kernel_is_unpacked(pack, setup_sects):
    size = struct.pack("<I", len(KERNEL))
    assert extract_vmlinux(bz_image(pack(KERNEL) + size, setup_sects=setup_sects)) == KERNEL


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (b"", "no bzImage"),
        (bz_image(lzma.compress(KERNEL), magic=b"Hdr?"), "no bzImage"),
        (bz_image(lzma.compress(KERNEL), version=0x207), "boot protocol 0x207"),
        (bz_image(b"(\xb5/\xfd" + KERNEL), "unknown way .*28 b5 2f fd"),
        (bz_image(lzma.compress(KERNEL)[:-20]), "cut short"),
        (bz_image(gzip.compress(KERNEL)[:-20]), "cut short"),
        (bz_image(b"\xfd7zXZ\0" + KERNEL), "damaged"),
        (bz_image(b"\x1f\x8b" + KERNEL), "damaged"),
        (bz_image(lzma.compress(b"MZ" + KERNEL)), "no ELF kernel"),
    ],
)
def test_kernel_that_cannot_be_used(image, words):
    with pytest.raises(GuestUnavailable, match=words):
        extract_vmlinux(image)


@given(st.integers(0, 3000), st.binary(min_size=1, max_size=8))
def test_damaged_kernel_is_refused_or_harmless(at, damage):
    image = bytearray(bz_image(lzma.compress(KERNEL)))
    image[at : at + len(damage)] = damage
    with contextlib.suppress(GuestUnavailable):
        assert extract_vmlinux(bytes(image)).startswith(b"\x7fELF")


# ---------------------------------------------------------------------------------------------------- modules


def test_module_says_what_it_needs_and_drives():
    code = module_file(
        license="GPL", depends="drm,ttm", alias=["pci:v1B36*", "pci:v1AF4*"], softdep="pre: crc32c-intel fast post: slow"
    )
    module = parse_module("qxl", code)
    assert module.depends == ("drm", "ttm")
    assert module.prefers == ("crc32c_intel", "fast")
    assert module.aliases == ("pci:v1B36*", "pci:v1AF4*")
    assert parse_module("lonely", module_file(depends="")).depends == ()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (b"", "no 64-bit ELF"),
        (b"\x7fELF\x01\x01" + bytes(100), "no 64-bit ELF"),
        (module_file(depends="")[:200], "damaged"),
        (module_file(depends="").replace(b".modinfo", b".mad.inf"), r"no .modinfo section"),
    ],
)
def test_file_that_is_no_module(code, words):
    with pytest.raises(GuestUnavailable, match=words):
        parse_module("qxl", code)


@given(st.integers(0, 400), st.binary(min_size=1, max_size=8), st.integers(0, 400))
def test_damaged_module_is_refused_or_harmless(at, damage, length):
    code = bytearray(module_file(depends="drm", alias="pci:*"))
    code[at : at + len(damage)] = damage
    for variant in (code, code[:length]):
        with contextlib.suppress(GuestUnavailable):
            assert parse_module("qxl", bytes(variant)).name == "qxl"


@pytest.fixture
def modules(tmp_path):
    """The modules of a kernel: qxl needs ttm and drm, ttm needs drm; drm_help is compressed, evdev is built in."""
    graphics = tmp_path / "kernel" / "drivers"
    graphics.mkdir(parents=True)
    (graphics / "qxl.ko").write_bytes(module_file(depends="drm,ttm", alias="pci:v1B36*"))
    (graphics / "ttm.ko.xz").write_bytes(lzma.compress(module_file(depends="drm")))
    (graphics / "drm.ko.gz").write_bytes(gzip.compress(module_file(depends="")))
    (graphics / "virtio-gpu.ko").write_bytes(module_file(depends="drm", alias=["virtio:d10*", "virtio:d11*"]))
    (graphics / "hot.ko").write_bytes(module_file(depends="", softdep="pre: ice absent"))
    (graphics / "ice.ko").write_bytes(module_file(depends="hot"))
    (graphics / "broken.ko").write_bytes(module_file(depends="absent"))
    (graphics / "new.ko.zst").write_bytes(b"(\xb5/\xfd")
    (graphics / "torn.ko.xz").write_bytes(lzma.compress(b"torn")[:-4])
    (graphics / "torn2.ko.gz").write_bytes(gzip.compress(b"torn")[:-4])
    (tmp_path / "modules.builtin").write_text("kernel/drivers/input/evdev.ko\n")
    return ModuleTree(tmp_path)


def test_modules_come_after_what_they_need(modules):
    closure = modules.closure(["virtio_gpu", "evdev", "qxl", "virtio_gpu"])
    assert list(closure) == ["drm", "virtio_gpu", "ttm", "qxl"]
    assert all(module.code.startswith(b"\x7fELF") for module in closure.values())


def test_modules_that_are_merely_preferred_come_first_where_they_are(modules):
    # Each wants the other first, which nothing can satisfy; it must end all the same.
    closure = modules.closure(["hot"])
    assert list(closure) == ["ice", "hot"]
    assert dependency_table(closure) == "ice.ko: \nhot.ko: ice.ko\n"


def test_tables_are_those_of_depmod(modules):
    closure = modules.closure(["qxl", "virtio_gpu"])
    # modprobe loads from the end of a line to its start.
    assert dependency_table(closure) == "drm.ko: \nttm.ko: drm.ko\nqxl.ko: ttm.ko drm.ko\nvirtio_gpu.ko: drm.ko\n"
    assert alias_table(closure) == "alias pci:v1B36* qxl\nalias virtio:d10* virtio_gpu\nalias virtio:d11* virtio_gpu\n"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("floppy", "no module floppy, which the guest needs"),
        ("broken", "no module absent, which broken needs"),
        ("new", "compressed in an unknown way"),
        ("torn", "torn.ko.xz is damaged"),
        ("torn2", "torn2.ko.gz is damaged"),
    ],
)
def test_modules_that_cannot_be_had(modules, name, words):
    with pytest.raises(GuestUnavailable, match=words):
        modules.closure([name])


# ---------------------------------------------------------------------------------------------------- the image


def test_image_is_a_cpio_archive(tmp_path):
    program = tmp_path / "program"
    program.write_bytes(b"run me")
    program.chmod(0o755)
    (tmp_path / "link").symlink_to("program")
    image = Image()
    image.file("etc/deep/er/motd", b"hello")
    image.file("etc/deep/run", b"#!/bin/sh\n", executable=True)
    image.link("init", "usr/bin/busybox")
    image.device("dev/console", 5, 1)
    image.copy("usr/bin/program", program)
    image.copy("usr/bin/link", tmp_path / "link")
    image.file("etc/deep/er/motd", b"replaced")
    entries = read_cpio(image.archive())
    directory = (stat.S_IFDIR | 0o755, b"", (0, 0))
    assert entries == {
        "etc": directory,
        "etc/deep": directory,
        "etc/deep/er": directory,
        "etc/deep/er/motd": (stat.S_IFREG | 0o644, b"replaced", (0, 0)),
        "etc/deep/run": (stat.S_IFREG | 0o755, b"#!/bin/sh\n", (0, 0)),
        "init": (stat.S_IFLNK | 0o777, b"usr/bin/busybox", (0, 0)),
        "dev": directory,
        "dev/console": (stat.S_IFCHR | 0o600, b"", (5, 1)),
        "usr": directory,
        "usr/bin": directory,
        "usr/bin/program": (stat.S_IFREG | 0o755, b"run me", (0, 0)),
        "usr/bin/link": (stat.S_IFLNK | 0o777, b"program", (0, 0)),
    }
    # A directory comes before what is in it: the kernel makes none by itself.
    order = list(entries)
    assert all(order.index(str(Path(path).parent)) < order.index(path) for path in order if "/" in path)


PATHS = st.lists(st.sampled_from(["a", "bc", "def", "ghij"]), min_size=1, max_size=4).map("/".join)


@given(st.dictionaries(PATHS, st.binary(max_size=9)))
def test_every_file_of_an_image_is_in_its_archive(files):
    image = Image()
    for path, content in files.items():
        image.file(f"root/{path}.file", content)
    entries = read_cpio(image.archive())
    assert {path: content for path, (_, content, _) in entries.items() if path.endswith(".file")} == {
        f"root/{path}.file": content for path, content in files.items()
    }


# ---------------------------------------------------------------------------------------------------- the recipe


def test_scripts_of_the_standard_guest_are_shell():
    for script in (recipe.setup_script(STANDARD_PARTS), recipe.ready_script(STANDARD_PARTS)):
        subprocess.run(["sh", "-n"], input=script, text=True, check=True)


def test_scripts_in_the_standard_guest_are_shell():
    scripts = {path: text for part in STANDARD_PARTS for path, text in part.texts.items() if text.startswith("#!")}
    assert scripts
    for path, text in scripts.items():
        done = subprocess.run(["sh", "-n"], input=text, text=True, check=False, capture_output=True)
        assert not done.returncode, f"{path}: {done.stderr}"


def test_programs_compile_without_a_warning():
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.fail("no gcc") if os.environ.get("CI") else pytest.skip("no gcc")
    directory = Path(program.__file__).parent
    names = [name for part in STANDARD_PARTS for name in part.programs.values()]
    assert sorted(names) == sorted(path.name for path in directory.glob("*.c"))
    for name in names:
        subprocess.run([compiler, "-std=gnu11", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", directory / name], check=True)


def test_a_part_is_all_there_is_to_a_new_ability():
    part = Part(
        name="agent",
        modules=("virtio_console",),
        setup="mkdir /run",
        services=("- /usr/sbin/qemu-ga", "tty2 /bin/sh -l"),
        ready="pidof qemu-ga",
    )
    setup = recipe.setup_script((part,)).splitlines()
    assert setup.index("modprobe -a virtio_console") < setup.index("mkdir /run")
    ready = recipe.ready_script((part,)).splitlines()
    assert ready.index("until pidof qemu-ga; do usleep 20000; done") < ready.index(f"echo {READY_MARKER} >/dev/ttyS0")
    services = recipe.inittab((part,)).splitlines()
    assert {"::sysinit:/etc/setup", "::once:/etc/ready", "::respawn:/usr/sbin/qemu-ga", "tty2::respawn:/bin/sh -l"} <= {*services}


# ---------------------------------------------------------------------------------------------------- packages and cache


@attrs.define
class Debian:
    """apt and dpkg as scripts; what they say and do lies in files."""

    home: Path

    def tool(self, name, script):
        path = self.home / "tools" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def offer(self, version):
        """What apt has to offer from now on; its URIs are in the order of apt, not ours."""
        names = [f"linux-image-6.1.0-9-amd64_{version}_amd64.deb", "busybox-static_1%3a1_amd64.deb"]
        lines = "".join(f"'http://deb.test/{name}' {name} 12 SHA256:{zlib.crc32(name.encode()):08x}\n" for name in names)
        (self.home / "uris").write_text(lines)
        return names

    def downloads(self):
        return (self.home / "downloads").read_text().count("download")


@pytest.fixture
def debian(tmp_path, monkeypatch):
    machine = Debian(tmp_path)
    for directory in ("tools", "tree/boot", "tree/usr/lib/modules/6.1.0-9-amd64/kernel"):
        (tmp_path / directory).mkdir(parents=True)
    for pattern in {pattern for part in STANDARD_PARTS for pattern in part.files}:
        file = tmp_path / "tree" / pattern.replace("*", "0")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(file.name.encode())
    (tmp_path / "tree/boot/vmlinuz-6.1.0-9-amd64").write_bytes(bz_image(lzma.compress(KERNEL)))
    for part in STANDARD_PARTS:
        for name in (*part.modules, *part.drivers):
            (tmp_path / f"tree/usr/lib/modules/6.1.0-9-amd64/kernel/{name}.ko").write_bytes(module_file(depends=""))
    (tmp_path / "downloads").touch()
    machine.offer("6.1-1")
    machine.tool("apt-cache", "echo '  Depends: linux-image-6.1.0-9-amd64'")
    machine.tool(
        "apt-get",
        f"""case "$*" in
        *--print-uris*) exec /bin/cat {tmp_path}/uris ;;
        *) echo "$*" >>{tmp_path}/downloads
           while read -r uri name rest; do echo package >"$name"; done <{tmp_path}/uris ;;
        esac""",
    )
    machine.tool("dpkg-deb", f'exec /bin/cp -r {tmp_path}/tree/. "$3"')
    machine.tool("gcc", 'while [ $# -gt 1 ]; do [ "$1" = -o ] && program=$2; shift; done; echo "compiled ${1##*/}" >"$program"')
    monkeypatch.setenv("PATH", str(tmp_path / "tools"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return machine


def test_guest_is_built_once(debian):
    guest = build_guest()
    assert guest.kernel.read_bytes() == KERNEL
    assert "console=ttyS0" in guest.command_line
    entries = read_cpio(guest.initramfs.read_bytes())
    assert entries["usr/bin/busybox"][1] == b"busybox"
    assert entries["init"][1] == b"usr/bin/busybox"
    assert entries["usr/bin/port-echo"][:2] == (stat.S_IFREG | 0o755, b"compiled echo.c\n")
    assert entries["usr/lib/x86_64-linux-gnu/libglib-2.0.so.0"][1] == b"libglib-2.0.so.0"
    assert entries["bin"][1] == b"usr/bin"
    assert entries["etc/setup"][0] & stat.S_IXUSR
    assert entries["usr/lib/modules/6.1.0-9-amd64/qxl.ko"][1].startswith(b"\x7fELF")
    assert b"qxl.ko:" in entries["usr/lib/modules/6.1.0-9-amd64/modules.dep"][1]
    written = guest.initramfs.stat().st_mtime_ns
    assert build_guest() == guest
    assert guest.initramfs.stat().st_mtime_ns == written
    assert debian.downloads() == 1
    # Nothing is left of the workshop.
    assert sorted(path.name.split("-")[0] for path in cache_directory().iterdir()) == ["guest", "packages"]


def test_guest_is_built_again_when_packages_or_parts_change(debian):
    first = build_guest()
    debian.offer("6.1-2")
    second = build_guest()
    third = build_guest([*STANDARD_PARTS, Part(name="motd", texts={"etc/motd": "hello"})])
    assert len({first, second, third}) == 3
    assert read_cpio(third.initramfs.read_bytes())["etc/motd"][1] == b"hello"
    # The third needs the packages of the second, which are there.
    assert debian.downloads() == 2


def test_old_guests_and_packages_go(debian):
    guests = []
    for number in range(5):
        names = debian.offer(f"6.1-{number}")
        guests.append(build_guest())
        os.utime(guests[-1].kernel.parent, (number, number))
    assert [guest.kernel.exists() for guest in guests] == [False, False, True, True, True]
    packages = cache_directory() / "packages"
    assert sorted(path.name for path in packages.iterdir()) == sorted(names)


def test_two_builders_at_once_get_the_same_guest(debian):
    # The other one is done while ours unpacks.
    other = build_guest()
    target = other.kernel.parent
    target.rename(target.with_name("aside"))
    debian.tool(
        "dpkg-deb", f'/bin/cp -r {debian.home}/tree/. "$3"; [ -e {target} ] || /bin/mv {target.with_name("aside")} {target}'
    )
    assert build_guest() == other
    assert other.kernel.read_bytes() == KERNEL


def test_cache_directory_is_that_of_xdg(monkeypatch):
    monkeypatch.setenv("HOME", "/home/tester")
    for setting, expected in {"/var/c": "/var/c", "": "/home/tester/.cache", "relative": "/home/tester/.cache"}.items():
        monkeypatch.setenv("XDG_CACHE_HOME", setting)
        assert cache_directory() == Path(expected) / "atp-trio"


@pytest.mark.parametrize(
    ("tool", "advice"),
    [
        ("apt-cache", "use Debian"),
        ("apt-get", "use Debian"),
        ("dpkg-deb", "use Debian"),
        ("gcc", "apt-get install .* gcc libc6-dev"),
    ],
)
def test_tool_that_is_missing_is_named(debian, tool, advice):
    (debian.home / "tools" / tool).unlink()
    with pytest.raises(GuestUnavailable, match=f"built with {tool}, which is not here: {advice}"):
        build_guest()


@pytest.mark.parametrize(
    ("tool", "script", "words"),
    [
        ("apt-cache", "echo 'E: No packages found' >&2; exit 100", r"E: No packages found.*run `apt-get update`"),
        ("apt-cache", "echo '  Depends: something-else'", "depends on no kernel"),
        ("apt-get", "echo 'E: Unable to locate package' >&2; exit 100", r"Unable to locate package.*run `apt-get update`"),
        ("apt-get", "exit 7", "exit status 7"),
        ("dpkg-deb", "echo 'not a Debian format archive' >&2; exit 2", r"not a Debian format archive.*try again"),
        ("dpkg-deb", "exit 0", "no /boot/vmlinuz"),
        ("gcc", "echo 'cannot find -lc' >&2; exit 1", r"cannot find -lc.*gcc libc6-dev"),
    ],
)
def test_tool_that_fails_is_quoted(debian, tool, script, words):
    debian.tool(tool, script)
    with pytest.raises(GuestUnavailable, match=words):
        build_guest()
    assert not list(cache_directory().glob("guest-*"))


def test_damaged_package_is_downloaded_again(debian):
    good = (debian.home / "tools/dpkg-deb").read_text()
    debian.tool("dpkg-deb", "exit 2")
    with pytest.raises(GuestUnavailable):
        build_guest()
    (debian.home / "tools/dpkg-deb").write_text(good)
    assert isinstance(build_guest(), Guest)
    assert debian.downloads() == 2


def test_download_of_another_version_than_announced(debian):
    good = (debian.home / "tools/apt-get").read_text()
    debian.tool("apt-get", good.replace('>"$name"', '>"newer-$name"'))
    with pytest.raises(GuestUnavailable, match=r"without busybox-static_1%3a1_amd64.deb, linux-image-6\.1\.0-9-amd64_6\.1-1"):
        build_guest()


def test_file_that_no_package_has_is_named(debian):
    with pytest.raises(GuestUnavailable, match="hold no usr/sbin/none"):
        build_guest([*STANDARD_PARTS, Part(name="none", files=("usr/sbin/none",))])


def test_files_lie_in_usr_wherever_the_package_has_them(tmp_path):
    for path in ("bin/old", "usr/bin/new", "usr/lib/x/libx.so.1"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    assert set(find_files(tmp_path, "usr/bin/*")) == {"usr/bin/old", "usr/bin/new"}
    assert find_files(tmp_path, "usr/lib/*/libx.so*") == {"usr/lib/x/libx.so.1": tmp_path / "usr/lib/x/libx.so.1"}
