"""Real machines for every integration test.

They live as long as the test run, so these fixtures are plain: an async fixture would live as long as one test.
What is missing on the machine skips a test at a desk, and fails it in CI.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from atp_trio.testing.certificate import TlsFiles, make_tls_dir
from atp_trio.testing.guest import Guest, GuestUnavailable, build_guest
from atp_trio.testing.qemu import Qemu, SpiceOptions, missing

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Called with the items of the whole run.
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.integration)


@pytest.fixture(scope="session")
def lack() -> Callable[[str], None]:
    """What a fixture calls when this machine lacks something: its argument says what to do about it."""

    def skip_or_fail(reason: str) -> None:
        if os.environ.get("CI"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)

    return skip_or_fail


@pytest.fixture(scope="session")
def qemu(lack: Callable[[str], None]) -> type[Qemu]:
    """`Qemu`, known to start here: for tests that need a machine of their own."""
    problem = missing()
    if problem:
        lack(f"no QEMU with SPICE on this machine: {problem}")
    return Qemu


@pytest.fixture(scope="session")
def guest(lack: Callable[[str], None]) -> Guest:
    """The Linux guest, built."""
    try:
        return build_guest()
    except GuestUnavailable as error:
        lack(str(error))
        raise


@pytest.fixture(scope="session")
def tls_files(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    """A server's certificate and the authority that signed it."""
    return make_tls_dir(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="session")
def qemu_firmware(qemu: type[Qemu], tls_files: TlsFiles) -> Iterator[Qemu]:
    """A machine that stays in the firmware, up in 0.2 s: a text screen on standard VGA; a plain and a TLS port, no password."""
    with qemu(display="VGA", spice=SpiceOptions(tls=tls_files.directory)) as machine:
        machine.wait_ready()
        yield machine


@pytest.fixture(scope="session")
def qxl_machine(qemu: type[Qemu], guest: Guest, tls_files: TlsFiles) -> Iterator[Qemu]:
    """The guest on qxl with a tablet, up in about 3 s; a plain and a TLS port, no password."""
    with qemu(guest=guest, display="qxl-vga", tablet=True, spice=SpiceOptions(tls=tls_files.directory)) as machine:
        machine.wait_ready()
        yield machine


@pytest.fixture(scope="session")
def vga_machine(qemu: type[Qemu], guest: Guest) -> Iterator[Qemu]:
    """The guest on standard VGA, with the PS/2 mouse alone (relative positions); a plain port, no password."""
    with qemu(guest=guest, display="VGA") as machine:
        machine.wait_ready()
        yield machine
