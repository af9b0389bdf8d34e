"""Every way to a host: who is let in, who is refused, and with which words."""

from __future__ import annotations

import shutil
import threading
import time

import pytest
import trio

from atp_trio.errors import AuthenticationFailed, ConfigError, ConnectFailed, TlsError
from atp_trio.hypervisor.credentials import Credentials
from atp_trio.hypervisor.host import open_host
from atp_trio.hypervisor.info import HostInfo

WITHIN = 30
TRANSPORTS = ["uri", "tcp_uri", "tls_uri", "ssh_uri", "libssh_uri", "libssh2_uri"]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_every_transport(libvirtd, idle_domains, transport):
    with trio.fail_after(WITHIN):
        async with open_host(getattr(libvirtd, transport)) as host:
            domain = await host.domain(idle_domains[0])
            assert '"running":true' in await domain.monitor('{"execute": "query-status"}')
            async with host.keep_lane() as lane:
                assert lane.is_alive()


async def refused(uri, kind, credentials=None):
    info = HostInfo("host", "host", uri, credentials or Credentials())
    with trio.fail_after(WITHIN), pytest.raises(kind) as caught:
        async with open_host(info):
            raise AssertionError
    return str(caught.value)


async def test_tls_with_a_wrong_authority(libvirtd):
    uri = libvirtd.tls_uri.replace(str(libvirtd.pki.client), str(libvirtd.pki.stranger))
    assert "certificate" in await refused(uri, TlsError)
    # The server refuses the client's, too, when it is made to go on. With TLS 1.3 that comes after the handshake.
    await refused(f"{uri}&no_verify=1", ConnectFailed)


async def test_tls_without_certificates(libvirtd, tmp_path):
    uri = libvirtd.tls_uri.replace(str(libvirtd.pki.client), str(tmp_path))
    assert "No such file" in await refused(uri, TlsError)


async def test_tls_to_a_port_without(libvirtd):
    uri = libvirtd.tls_uri.replace(f":{libvirtd.tls_port}", f":{libvirtd.tcp_port}")
    await refused(uri, ConnectFailed)


@pytest.mark.parametrize("transport", ["libssh_uri", "libssh2_uri"])
async def test_ssh_host_that_is_not_known(libvirtd, tmp_path, transport):
    (tmp_path / "known_hosts").touch()
    uri = getattr(libvirtd, transport).replace(str(libvirtd.ssh_files.known_hosts), str(tmp_path / "known_hosts"))
    assert "key" in await refused(uri, (AuthenticationFailed, ConnectFailed))


async def test_ssh_key_that_is_not_known(libvirtd, tmp_path):
    key = tmp_path / "key"
    shutil.copy(libvirtd.ssh_files.host_key, key)
    uri = libvirtd.libssh_uri.replace(str(libvirtd.ssh_files.key_file), str(key))
    assert "hunter2" not in await refused(uri, AuthenticationFailed, Credentials(password="hunter2"))


async def test_password(sasl_libvirtd, sasl_login, tmp_path):
    user, password = sasl_login
    path = tmp_path / "password"
    path.write_text(f"{password}\n")
    for given in (password, path, lambda: password):
        info = HostInfo("host", "host", sasl_libvirtd.tcp_uri, Credentials(username=user, password=given))
        with trio.fail_after(WITHIN):
            async with open_host(info) as host:
                assert await host.domains() == []


async def test_wrong_password(sasl_libvirtd, sasl_login):
    user, password = sasl_login
    uri = sasl_libvirtd.tcp_uri
    assert "hunter2" not in await refused(uri, AuthenticationFailed, Credentials(username=user, password="hunter2"))
    await refused(uri, AuthenticationFailed, Credentials(username="nobody", password=password))
    await refused(uri, AuthenticationFailed)


async def test_password_that_cannot_be_had(sasl_libvirtd, tmp_path):
    uri = sasl_libvirtd.tcp_uri
    assert "cannot be read" in await refused(uri, ConfigError, Credentials(username="me", password=tmp_path / "none"))


async def test_leaving_while_the_password_is_asked_for(sasl_libvirtd, sasl_login):
    asked, answered = threading.Event(), threading.Event()

    def give():
        asked.set()
        assert answered.wait(WITHIN)
        return sasl_login[1]

    info = HostInfo("host", "host", sasl_libvirtd.tcp_uri, Credentials(username=sasl_login[0], password=give))
    begun = time.perf_counter()
    with trio.move_on_after(0.3) as scope:
        async with open_host(info):
            raise AssertionError
    assert scope.cancelled_caught
    assert asked.is_set()
    assert time.perf_counter() - begun < 5
    answered.set()
