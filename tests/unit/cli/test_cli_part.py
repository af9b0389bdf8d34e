"""The parts, on machines that have them or not."""

from __future__ import annotations

from types import SimpleNamespace

import attrs
import pytest

from atp_trio.cli.part import PARTS, PartBroken, PartMissing, State, examine


@attrs.define
class FakeMachine:
    """Has everything but what is absent or broken, by the names of modules, distributions and programs."""

    absent: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    devices: str = 'name "qxl-vga", bus PCI'
    module: object = SimpleNamespace(lib=None, __file__="/there/_spice_codec.so", getVersion=lambda: 9_012_003)

    def _check(self, name):
        if name in self.absent:
            raise PartMissing
        if name in self.broken:
            raise PartBroken(f"{name} is broken")

    def platform(self):
        return "3.11.0 on Linux x86_64"

    def load(self, module):
        self._check(module)
        return self.module

    def version(self, distribution):
        self._check(distribution)
        return "1.2.3"

    def find(self, program):
        self._check(program)
        return f"/bin/{program}"

    def ask(self, *command):
        self._check(command[0])
        return self.devices if "-device" in command else "\nversion 4.5\nand more\n"

    def try_kvm(self):
        self._check("/dev/kvm")
        return "works"


def look(**machine):
    return {one.part.name: one for one in examine(FakeMachine(**machine), PARTS)}


def test_a_machine_that_has_everything():
    found = look()
    assert {one.state for one in found.values()} == {State.OK}
    assert not any(one.stops_everything for one in found.values())
    assert found["libvirt-python"].detail == "1.2.3, libvirt 9.12.3"
    assert found["ssh"].detail == found["libvirtd"].detail == "version 4.5"
    assert found["nc"].detail == "/bin/nc"
    assert found["C extension"].detail == "/there/_spice_codec.so"


# What is taken away, which part that is, and words of its remedy.
LACKS = [
    ("trio", "trio", "pip install"),
    ("numpy", "numpy", "pip install"),
    ("simplejpeg", "simplejpeg", "pip install"),
    ("_spice_codec", "C extension", "gcc"),
    ("libvirt", "libvirt-python", "'atp-trio[libvirt]'"),
    ("libvirt-python", "libvirt-python", "libvirt-dev"),
    ("libvirt_qemu", "libvirt-python", "'atp-trio[libvirt]'"),
    ("lz4.block", "lz4", "'atp-trio[lz4]'"),
    ("av", "av", "'atp-trio[video]'"),
    ("cv2", "opencv", "'atp-trio[vision]'"),
    ("onnxruntime", "rapidocr", "'atp-trio[ocr]'"),
    ("pytest_trio", "testing", "'atp-trio[testing]'"),
    ("ssh", "ssh", "apt-get install --no-install-recommends openssh-client"),
    ("nc", "nc", "netcat-openbsd"),
    ("virsh", "virsh", "libvirt-clients"),
    ("gcc", "gcc", "gcc libc6-dev"),
    ("dpkg-deb", "apt-get and dpkg-deb", "dpkg"),
    ("/dev/kvm", "/dev/kvm", "virtualisation"),
]


@pytest.mark.parametrize(("taken", "name", "remedy"), LACKS)
def test_a_part_that_is_not_there(taken, name, remedy):
    found = look(absent=(taken,))
    assert [one.part.name for one in found.values() if one.state is not State.OK] == [name]
    assert (found[name].state, found[name].detail) == (State.MISSING, "")
    assert remedy in found[name].part.remedy
    assert found[name].stops_everything == (name in {"trio", "numpy", "simplejpeg", "C extension"})


def test_a_part_that_does_not_work():
    found = look(broken=("cv2", "/dev/kvm", "numpy", "/bin/ssh"))
    assert {name: one.detail for name, one in found.items() if one.state is State.BROKEN} == {
        "opencv": "cv2 is broken",
        "/dev/kvm": "/dev/kvm is broken",
        "numpy": "numpy is broken",
        "ssh": "/bin/ssh is broken",
    }
    assert [name for name, one in found.items() if one.stops_everything] == ["numpy"]


def test_qemu_without_spice():
    assert look(devices='name "VGA"')["qemu with SPICE"].state is State.MISSING
    assert look(devices='name "VGA"')["qemu"].state is State.OK
    assert {look(absent=("qemu-system-x86_64",))[name].state for name in ("qemu", "qemu with SPICE")} == {State.MISSING}


def test_a_libvirtd_for_each_hypervisor_is_one_too():
    assert look(absent=("libvirtd",))["libvirtd"].state is State.OK
    assert look(absent=("libvirtd", "virtqemud"))["libvirtd"].state is State.MISSING


def test_an_extension_of_another_version():
    found = look(module=SimpleNamespace(__file__="/there", getVersion=lambda: 0))["C extension"]
    assert (found.state, found.stops_everything) == (State.BROKEN, True)


def test_every_part_says_what_it_is_for_and_how_it_is_had():
    assert all(part.needed_for and part.remedy for part in PARTS)
    assert len({part.name for part in PARTS}) == len(PARTS)
