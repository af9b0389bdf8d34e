"""The public names: all there, documented, and quick to import."""

import subprocess
import sys

import pytest

import atp_trio


@pytest.mark.parametrize("name", atp_trio.__all__)
def test_public_name_exists_and_is_documented(name):
    value = getattr(atp_trio, name)
    assert name.startswith("__") or value.__doc__


def test_every_late_name_is_public_and_dir_shows_it():
    assert set(atp_trio._PLACES) < set(atp_trio.__all__)
    assert set(atp_trio.__all__) <= set(dir(atp_trio))


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = atp_trio.nonsense


def test_import_leaves_the_heavy_modules_for_later():
    code = "import sys, atp_trio; print([m for m in ('numpy', 'cryptography', 'hypothesis', 'libvirt') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_spice_alone_needs_neither_libvirt_nor_the_testing_packages():
    code = (
        "import sys\n"
        "for name in ('libvirt', 'hypothesis', 'pytest', 'lz4'): sys.modules[name] = None\n"
        "import atp_trio\n"
        "atp_trio.open_spice, atp_trio.SpiceVmConnection\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
