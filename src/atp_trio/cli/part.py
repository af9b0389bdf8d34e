"""The parts that the library is made of or works with: what each is needed for, how to see whether it is there, how to get it.

Sans-IO: `examine` looks at a `Machine`, which is this one or a test's. A new part is a line in `PARTS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from typing import Any, Final, Protocol

import attrs

__all__ = ["PARTS", "Examined", "Machine", "Part", "PartBroken", "PartMissing", "State", "examine"]

QEMU: Final = "qemu-system-x86_64"
KVM: Final = "/dev/kvm"
_APT: Final = "apt-get install --no-install-recommends"


class PartMissing(Exception):
    """It is not there."""


class PartBroken(Exception):
    """It is there and does not work; the sentence says why."""


class Machine(Protocol):
    """What of a computer is looked at. Everything blocks."""

    def platform(self) -> str:
        """Python's version and what it runs on."""

    def load(self, module: str) -> Any:
        """Import a module; `PartMissing` or `PartBroken` where that fails."""

    def version(self, distribution: str) -> str:
        """The version of what was installed under this name; `PartMissing` if nothing was."""

    def find(self, program: str) -> str:
        """Where a program is; `PartMissing` if it is nowhere."""

    def ask(self, *command: str) -> str:
        """What a program prints, the error output too; `PartBroken` where it cannot be run."""

    def try_kvm(self) -> str:
        """Make a KVM machine with one processor and let it go; gives what was seen."""


Look = Callable[[Machine], str]
"""Gives what there is to tell of a part that is there; `PartMissing` or `PartBroken` of another."""


@attrs.frozen(kw_only=True)
class Part:
    """What may be installed, or not."""

    name: str
    needed_for: str
    remedy: str
    """How it is had, as a command where there is one."""
    look: Look
    is_required: bool = False
    """Whether nothing works without it."""


class State(Enum):
    """Whether a part can be used."""

    OK = "ok"
    MISSING = "missing"
    BROKEN = "broken"


@attrs.frozen
class Examined:
    """A part, and what became of looking for it."""

    part: Part
    state: State
    detail: str
    """Its version, or what is wrong with it; may be empty."""

    @property
    def stops_everything(self) -> bool:
        """Whether the library cannot be used like this."""
        return self.part.is_required and self.state is not State.OK


def examine(machine: Machine, parts: Iterable[Part]) -> list[Examined]:
    """Look for each part. Blocks: modules are imported and programs are run."""
    return [_examine(machine, part) for part in parts]


def _examine(machine: Machine, part: Part) -> Examined:
    try:
        return Examined(part, State.OK, part.look(machine))
    except PartMissing as error:
        return Examined(part, State.MISSING, str(error))
    except PartBroken as error:
        return Examined(part, State.BROKEN, str(error))


# --- how to look


def _modules(distribution: str, *modules: str) -> Look:
    """Packages of Python: they must be importable, which for many takes libraries of the system."""

    def look(machine: Machine) -> str:
        version = machine.version(distribution)
        for module in modules:
            machine.load(module)
        return version

    return look


def _together(*looks: Look) -> Look:
    """Several that are of use together only; tells of the first."""

    def look_at_all(machine: Machine) -> str:
        first, *_ = [look(machine) for look in looks]
        return first

    return look_at_all


def _program(name: str, *version: str) -> Look:
    """A program; asked for its version if there is a way."""

    def look(machine: Machine) -> str:
        path = machine.find(name)
        return _first_line(machine.ask(path, *version)) if version else path

    return look


def _first_line(text: str) -> str:
    return next(iter(text.strip().splitlines()), "")


def _codec(machine: Machine) -> str:
    module = machine.load("_spice_codec")
    if not hasattr(module, "lib"):
        raise PartBroken("it is not what this version was built with")
    return str(module.__file__)


def _libvirt(machine: Machine) -> str:
    binding = machine.version("libvirt-python")
    number = machine.load("libvirt").getVersion()
    machine.load("libvirt_qemu")
    return f"{binding}, libvirt {number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"


def _qemu_with_spice(machine: Machine) -> str:
    # Debian 12 has it in qemu-system-common, later releases in a package of its own.
    devices = machine.ask(machine.find(QEMU), "-device", "help")
    if '"qxl-vga"' not in devices:
        raise PartMissing
    return "qxl-vga is there"


def _libvirtd(machine: Machine) -> str:
    # One for everything, or one for each hypervisor.
    try:
        return _program("libvirtd", "--version")(machine)
    except PartMissing:
        return _program("virtqemud", "--version")(machine)


def _library(distribution: str, *modules: str, needed_for: str) -> Part:
    return Part(
        name=distribution,
        needed_for=needed_for,
        remedy="pip install --force-reinstall atp-trio",
        look=_modules(distribution, *modules),
        is_required=True,
    )


def _extra(name: str, extra: str, look: Look, *, needed_for: str) -> Part:
    return Part(name=name, needed_for=needed_for, remedy=f"pip install 'atp-trio[{extra}]'", look=look)


def _tool(name: str, packages: str, look: Look, *, needed_for: str) -> Part:
    return Part(name=name, needed_for=needed_for, remedy=f"{_APT} {packages}", look=look)


# --- the parts

PARTS: Final[Sequence[Part]] = (
    Part(
        name="python",
        needed_for="everything",
        remedy="Python 3.11 or later",
        look=lambda machine: machine.platform(),
        is_required=True,
    ),
    _library("trio", "trio", needed_for="everything"),
    _library("numpy", "numpy", needed_for="pictures"),
    _library("cryptography", "cryptography.hazmat.primitives.asymmetric.rsa", needed_for="SPICE's tickets"),
    _library("pillow", "PIL.Image", needed_for="files of pictures"),
    _library("simplejpeg", "simplejpeg", needed_for="JPEG images and MJPEG streams"),
    _library("pyyaml", "yaml", needed_for="the configuration"),
    _library("cattrs", "cattrs", needed_for="the configuration"),
    Part(
        name="C extension",
        needed_for="SPICE's images and messages",
        remedy=f"{_APT} gcc libc6-dev python3-dev, then pip install --force-reinstall --no-binary atp-trio atp-trio",
        look=_codec,
        is_required=True,
    ),
    Part(
        name="libvirt-python",
        needed_for="libvirt mode: hosts, QMP, guest agent and serial ports",
        remedy=f"{_APT} gcc pkg-config python3-dev libvirt-dev, then pip install 'atp-trio[libvirt]'",
        look=_libvirt,
    ),
    _extra("lz4", "lz4", _modules("lz4", "lz4.block"), needed_for="images in LZ4, which a server sends when asked to"),
    _extra("av", "video", _modules("av", "av"), needed_for="video streams in VP8, VP9, H.264 and H.265, and recording"),
    _extra("opencv", "vision", _modules("opencv-python-headless", "cv2"), needed_for="finding a picture anywhere on the screen"),
    _extra(
        "rapidocr",
        "ocr",
        _together(_modules("rapidocr", "rapidocr"), _modules("onnxruntime", "onnxruntime")),
        needed_for="reading text on the screen",
    ),
    _extra(
        "testing",
        "testing",
        _together(_modules("hypothesis", "hypothesis"), _modules("pytest", "pytest"), _modules("pytest-trio", "pytest_trio")),
        needed_for="atp_trio.testing's strategies and fixtures",
    ),
    _tool("ssh", "openssh-client", _program("ssh", "-V"), needed_for="hosts at qemu+ssh://"),
    _tool("nc", "netcat-openbsd", _program("nc"), needed_for="being a host that others reach at qemu+ssh://"),
    _tool("virsh", "libvirt-clients", _program("virsh", "--version"), needed_for="the tests' private libvirtd"),
    _tool(
        "libvirtd",
        "libvirt-daemon libvirt-daemon-driver-qemu",
        _libvirtd,
        needed_for="being a host, and the tests' private libvirtd",
    ),
    _tool("qemu", "qemu-system-x86", _program(QEMU, "--version"), needed_for="machines here: atp guest, tests"),
    _tool("qemu with SPICE", "qemu-system-modules-spice", _qemu_with_spice, needed_for="machines here that have a SPICE server"),
    _tool("gcc", "gcc libc6-dev", _program("gcc", "--version"), needed_for="building the test guest"),
    _tool(
        "apt-get and dpkg-deb",
        "apt dpkg",
        _together(_program("apt-get", "--version"), _program("dpkg-deb", "--version")),
        needed_for="fetching what the test guest is made of",
    ),
    Part(
        name=KVM,
        needed_for="machines here at full speed; without it they are emulated",
        remedy="turn virtualisation on in the firmware or the hypervisor above; modprobe kvm_intel or kvm_amd; join group kvm",
        look=lambda machine: machine.try_kvm(),
    ),
)
"""All of them, in the order in which they are told."""
