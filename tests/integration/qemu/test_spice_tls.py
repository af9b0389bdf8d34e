"""TLS with a real server: whom we trust, and what the server insists on. And the UNIX socket."""

from __future__ import annotations

import pytest
import trio

from atp_trio.errors import ConfigError, ConnectionLost, LinkNeedSecured, TlsError
from atp_trio.spice.connection import open_spice
from atp_trio.spice.streams.tls import SpiceTlsConfig
from atp_trio.testing.certificate import make_tls_dir
from atp_trio.testing.qemu import SpiceOptions

WITHIN = 20
ALL = {"main", "display", "cursor", "inputs"}
TYPES = {1: "main", 2: "display", 3: "inputs", 4: "cursor"}


@pytest.fixture(scope="module")
def elsewhere(qemu, tmp_path_factory):
    """A machine with TLS alone, whose certificate names another host."""
    files = make_tls_dir(tmp_path_factory.mktemp("tls"), subject="C=IL,O=Red Hat,CN=my server", hosts=("elsewhere.example",))
    with qemu(display="VGA", spice=SpiceOptions(plain=False, tls=files.directory)) as machine:
        yield machine, files


def secured(machine):
    """The channels that go over TLS, as QEMU knows them."""
    return {TYPES[one["channel-type"]] for one in machine.qmp("query-spice")["channels"] if one["tls"]}


async def secured_when_open(uri, machine, tls):
    with trio.fail_after(WITHIN):
        async with open_spice(uri, tls=tls) as vm:
            assert (await vm.display.screenshot()).width
            return await trio.to_thread.run_sync(secured, machine)


async def refused(uri, tls):
    with trio.fail_after(WITHIN), pytest.raises(TlsError) as caught:
        async with open_spice(uri, tls=tls):
            pytest.fail("the server was trusted")
    return str(caught.value)


async def test_the_authority_that_signed_is_trusted(qemu_firmware, tls_files):
    tls = SpiceTlsConfig(ca_file=tls_files.ca)
    for host in ("127.0.0.1", "localhost"):
        assert await secured_when_open(f"spice+tls://{host}:{qemu_firmware.tls_port}", qemu_firmware, tls) == ALL


async def test_no_other_authority_is_trusted(qemu_firmware, tls_files):
    uri = f"spice+tls://127.0.0.1:{qemu_firmware.tls_port}"
    assert "not trusted" in await refused(uri, SpiceTlsConfig(ca_file=tls_files.wrong_ca))
    assert "not trusted" in await refused(uri, None)  # the system's authorities
    assert qemu_firmware.alive()


async def test_a_certificate_for_another_host_is_refused(elsewhere):
    machine, files = elsewhere
    assert "another host" in await refused(machine.uri, SpiceTlsConfig(ca_file=files.ca))


async def test_host_subject_takes_the_place_of_the_host_name(elsewhere):
    machine, files = elsewhere
    tls = SpiceTlsConfig(ca_file=files.ca, host_subject="C=IL, O=Red Hat, CN=my server")
    assert await secured_when_open(machine.uri, machine, tls) == ALL


@pytest.mark.parametrize("subject", ["C=IL, O=Red Hat, CN=other", "O=Red Hat, CN=my server", "CN=my server, O=Red Hat, C=IL"])
async def test_another_host_subject_is_refused(elsewhere, subject):
    machine, files = elsewhere
    assert "subject" in await refused(machine.uri, SpiceTlsConfig(ca_file=files.ca, host_subject=subject))
    assert "not trusted" in await refused(machine.uri, SpiceTlsConfig(ca_file=files.wrong_ca, host_subject=files.subject))


async def test_insecure_trusts_anybody(elsewhere):
    machine, _ = elsewhere
    assert await secured_when_open(machine.uri, machine, SpiceTlsConfig.insecure()) == ALL


async def test_authority_file_that_is_none(elsewhere, tmp_path):
    machine, _ = elsewhere
    with pytest.raises(ConfigError):
        async with open_spice(machine.uri, tls=SpiceTlsConfig(ca_file=tmp_path / "missing.pem")):
            pytest.fail("there is no such file")


@pytest.mark.parametrize("channel", ["main", "display", "inputs"])
async def test_a_channel_that_must_be_secured_goes_over_tls_by_itself(qemu, tls_files, channel):
    options = SpiceOptions(tls=tls_files.directory, more=(f"tls-channel={channel}",))
    with qemu(display="VGA", spice=options) as machine:
        both = f"spice://127.0.0.1:{machine.port}?tls-port={machine.tls_port}"
        assert await secured_when_open(both, machine, SpiceTlsConfig(ca_file=tls_files.ca)) == {channel}
        # Without a TLS port to go to, and with one that is not trusted.
        with trio.fail_after(WITHIN), pytest.raises(LinkNeedSecured):
            async with open_spice(machine.uri):
                pytest.fail("the server let us in")
        assert "not trusted" in await refused(both, SpiceTlsConfig(ca_file=tls_files.wrong_ca))
        assert machine.alive()


async def test_plain_to_the_tls_port(elsewhere):
    machine, _ = elsewhere
    with trio.fail_after(WITHIN), pytest.raises(ConnectionLost, match=r"while it was being linked|lost"):
        async with open_spice(f"spice://127.0.0.1:{machine.tls_port}"):
            pytest.fail("the server let us in")
    assert machine.alive()


async def test_tls_to_the_plain_port(qemu_firmware):
    assert "not a TLS server" in await refused(f"spice+tls://127.0.0.1:{qemu_firmware.port}", SpiceTlsConfig.insecure())


async def test_unix_socket(qemu, settle_screen):
    with qemu(display="VGA", spice=SpiceOptions(unix=True, password="secret")) as machine:
        machine.wait_ready()
        with trio.fail_after(WITHIN):
            async with open_spice(machine.uri, password="secret") as vm:
                assert (await settle_screen(vm, machine)).any()
                assert await trio.to_thread.run_sync(secured, machine) == set()
