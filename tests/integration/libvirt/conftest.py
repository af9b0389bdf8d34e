"""A private libvirtd and its machines, for every test of libvirt mode; they live as long as the test run."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

from atp_trio.testing.guest import DRAW_PORT, ECHO_PORT, EVENTS_PORT, Guest
from atp_trio.testing.libvirtd import Libvirtd, missing

SASL_USER, SASL_PASSWORD = "tester", "open sesame"
PORTS = (ECHO_PORT, EVENTS_PORT, DRAW_PORT)

MakeDomain = Callable[..., str]


@pytest.fixture(scope="session")
def new_libvirtd(lack: Callable[[str], None]) -> type[Libvirtd]:
    """`Libvirtd`, known to start here: for tests that restart it, or need it with other settings."""
    problem = missing(ssh=True, sasl=True)
    if problem:
        lack(f"no private libvirtd on this machine: {problem}")
    return Libvirtd


@pytest.fixture(scope="session")
def libvirtd(new_libvirtd: type[Libvirtd]) -> Iterator[Libvirtd]:
    """A libvirtd for all tests that leave it as it is: on a UNIX socket, on TCP without authentication, on TLS, by SSH."""
    with new_libvirtd(tcp=True, tls=True, ssh=True) as daemon:
        yield daemon


@pytest.fixture(scope="session")
def sasl_libvirtd(new_libvirtd: type[Libvirtd]) -> Iterator[Libvirtd]:
    """A libvirtd, without machines, that asks for a user and a password on TCP: see `sasl_login`."""
    with new_libvirtd(tcp=True, sasl=(SASL_USER, SASL_PASSWORD)) as daemon:
        yield daemon


@pytest.fixture(scope="session")
def sasl_login() -> tuple[str, str]:
    """User and password of `sasl_libvirtd`."""
    return SASL_USER, SASL_PASSWORD


@pytest.fixture(scope="session")
def domain(libvirtd: Libvirtd, guest: Guest) -> str:
    """The name of a domain that runs the guest, ready: guest agent, the ports `PORTS`, a shell on console1, tablet, SPICE on TCP.

    Its memory has room for files of 300 MiB in /tmp. Who stops the agent, the machine or QEMU starts it again.
    """
    libvirtd.run("guest", guest, ports=PORTS, memory_mib=512)
    return "guest"


@pytest.fixture(scope="session")
def idle_domains(libvirtd: Libvirtd) -> tuple[str, ...]:
    """The names of four domains that run and cost next to nothing: in the firmware, without a display."""
    names = tuple(f"idle-{number}" for number in range(4))
    for name in names:
        libvirtd.run(name, agent=False, console=False, spice=None, display="", tablet=False, memory_mib=32)
    return names


@pytest.fixture
def make_domain(libvirtd: Libvirtd) -> Iterator[MakeDomain]:
    """Starts a domain for one test, by the arguments of `Libvirtd.run` without its name; gives the name."""
    made = []
    numbers = itertools.count(1)

    def make(guest: Guest | None = None, **options) -> str:
        name = f"made-{next(numbers)}"
        made.append(name)
        libvirtd.run(name, guest, **options)
        return name

    yield make
    for name in made:
        libvirtd.remove(name)
