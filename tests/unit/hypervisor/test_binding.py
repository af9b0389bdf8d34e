import subprocess
import sys

import pytest

from atp_trio.hypervisor.binding import load_binding


def test_missing_libvirt_python_is_told_with_what_to_install():
    code = (
        "import sys; sys.modules['libvirt'] = None\n"
        "from atp_trio.errors import ConfigError\n"
        "from atp_trio.hypervisor.binding import load_binding\n"
        "try: load_binding()\n"
        "except ConfigError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "apt-get install" in done.stdout
    assert "atp-trio[libvirt]" in done.stdout


def test_importing_the_host_does_not_load_libvirt():
    code = "import sys, atp_trio.hypervisor.host, atp_trio.hypervisor.pool; print('libvirt' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"


def test_loaded_once_and_silent(capfd):
    binding = load_binding()
    assert load_binding() is binding
    with pytest.raises(binding.error, match="nonexistent"):
        binding.open_auth("qemu+unix:///system?socket=/nonexistent", [], lambda questions, opaque: -1)
    assert capfd.readouterr() == ("", "")
