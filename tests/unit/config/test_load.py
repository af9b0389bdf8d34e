"""Configurations that can be meant, and every mistake in those that cannot."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atp_trio.config import ConfigMistakes, Secret, TransportConfig, load_config, read_config
from atp_trio.errors import ConfigError
from atp_trio.hypervisor.uri import HostUri
from atp_trio.spice.streams.tls import SpiceTlsConfig
from atp_trio.spice.streams.uri import SpiceUri

DESIGN = """\
hosts:
  - id: host1
    host: 192.168.1.10
    uri: qemu+tcp://192.168.1.10/system
spice:
  vms:
    - vm_id: vm1
      server_addr: 192.168.1.10
      port: 5900
      password: optional_password
      tls: false
    - vm_id: vm2
      server_addr: 192.168.1.20
      port: 5901
      tls: true
      tls_verify: true
"""


def test_the_designs_example(load):
    config = load(DESIGN)
    (host,) = config.hosts
    assert (host.id, host.uri) == ("host1", HostUri.parse("qemu+tcp://192.168.1.10/system"))
    assert host.info.connect_uri == host.uri
    first, second = config.spice.vms
    assert first.spice_uri == SpiceUri.parse("spice://192.168.1.10:5900")
    assert first.password.async_source() == "optional_password"
    assert second.spice_uri == SpiceUri.parse("spice+tls://192.168.1.20:5901")
    assert config.tls_of(second) == SpiceTlsConfig()
    assert config == attrs.evolve(TransportConfig(), hosts=config.hosts, spice=config.spice)


@pytest.mark.parametrize("text", ["", "---\n", "hosts:\nspice:\nheartbeat:\n", "hosts: []\nspice: {vms: []}\n", "# nothing\n"])
def test_nothing_said_is_the_default(load, text):
    assert load(text) == TransportConfig()


def test_every_setting(load, tmp_path):
    config = load("""
        pool: {minimum: 1, maximum: 2, idle_seconds: 3}
        heartbeat: {interval: 10, patience: 4.5}
        reconnect: {initial: 0.5, maximum: 30, factor: 3, jitter: 0, attempts: 7, steady: 1, restarts: 5, window: 60}
        spice:
          limits: {surface_pixels: 1000}
          channels: {open: [display], priority: [main, display], required: [main]}
          tls: {ca_file: ca.pem, legacy_ciphers: true}
          vms:
            - vm_id: a
              uri: spice+unix:///run/a.sock
            - vm_id: b
              host: h
              domain: b-domain
            - vm_id: c
              server_addr: c
              tls_port: 5901
              port: 5900
              ca_file: /etc/c.pem
              host_subject: CN=c
              channels: {open: []}
            - {vm_id: d, server_addr: d, port: 1, tls: yes, tls_verify: false}
        hosts:
          - {id: h, host: h.example, username: root, password: {command: [pass, show, it]}}
    """)
    assert (config.pool.minimum, config.pool.maximum, config.pool.idle_seconds) == (1, 2, 3)
    assert (config.heartbeat.interval, config.heartbeat.answer_within) == (10, 4.5)
    assert (config.reconnect.attempts, config.reconnect.restarts) == (7, 5)
    a, b, c, d = config.spice.vms
    assert (a.spice_uri.unix_path, b.spice_uri) == ("/run/a.sock", None)
    assert (c.spice_uri.port, c.spice_uri.tls_port, d.spice_uri.tls_port) == (5900, 5901, 1)
    assert config.tls_of(b) == SpiceTlsConfig(ca_file=tmp_path / "ca.pem", legacy_ciphers=True)
    assert config.tls_of(c) == SpiceTlsConfig(ca_file=Path("/etc/c.pem"), host_subject="CN=c", legacy_ciphers=True)
    assert not config.tls_of(d).verify
    assert (config.channels_of(a).open, config.channels_of(c).open) == (("display",), ())
    assert config.spice.limits.surface_pixels == 1000
    info = config.hosts[0].info
    assert (info.connect_uri, info.credentials.username) == (HostUri.parse("qemu+ssh://h.example/system"), "root")


def problem_of(uri):
    with pytest.raises(ConfigError) as caught:
        HostUri.parse(uri)
    return str(caught.value)


def test_every_mistake_is_told_with_its_place(mistakes):
    assert mistakes("""\
        hosts:
          - id: 5
            host: h
            uri: nonsense://x
          - host: h
            prot: 3
        heartbeat: {interval: -1, patience: x}
        reconnect:
          jitter: 7
          attempts: 1.5
        spice:
          vms:
            - vm_id: vm1
              port: 99999
              tls: yes please
              password: {env: 3, file: [x]}
            - vm_id: vm1
              host: nowhere
              channels: {open: display, required: [display]}
            - 7
          limits: {surface_pixels: 0}
        pool: 3
        bogus: x
        """) == [
        "FILE:2:9 hosts[0].id: a text is wanted, not 5; put it in quotes",
        f"FILE:4:10 hosts[0].uri: {problem_of('nonsense://x')}",
        "FILE:5:5 hosts[1].id: it is missing",
        "FILE:6:5 hosts[1].prot: there is no such setting; there are id, host, uri, username, password",
        "FILE:7:23 heartbeat.interval: interval is a number above 0, not -1.0",
        "FILE:7:37 heartbeat.patience: a number is wanted, not 'x'",
        "FILE:9:11 reconnect.jitter: jitter is a number of at least 0 up to 1, not 7.0",
        "FILE:10:13 reconnect.attempts: a whole number is wanted, not 1.5",
        "FILE:14:13 spice.vms[0].port: port is a whole number of at least 1 up to 65535, not 99999",
        "FILE:15:12 spice.vms[0].tls: true or false is wanted, not 'yes please'",
        "FILE:16:23 spice.vms[0].password.env: a text is wanted, not 3; put it in quotes",
        "FILE:16:32 spice.vms[0].password.file: a text is wanted, not a list",
        "FILE:17:14 spice.vms[1].vm_id: 'vm1' is there already",
        "FILE:18:13 spice.vms[1].host: there is no host 'nowhere'",
        "FILE:19:24 spice.vms[1].channels.open: a list is wanted here, not 'display'",
        "FILE:19:43 spice.vms[1].channels.required: required: main cannot be left out, there is no machine without it",
        "FILE:20:7 spice.vms[2]: settings are wanted here, not 7",
        "FILE:21:28 spice.limits.surface_pixels: surface_pixels is from 1 to 2147483647, not 0",
        "FILE:22:7 pool: settings are wanted here, not 3",
        "FILE:23:1 bogus: there is no such setting; there are hosts, spice, pool, heartbeat, reconnect",
    ]


@pytest.mark.parametrize(
    ("vm", "problem"),
    [
        ("{vm_id: a}", "where is it?"),
        ("{vm_id: a, port: 5900}", "where is it?"),
        ("{vm_id: a, server_addr: a}", "the port is missing"),
        ("{vm_id: a, uri: 'spice://a:1', port: 5900}", "port cannot stand beside it"),
        ("{vm_id: a, uri: 'spice://a:1', tls: true}", "tls cannot stand beside it"),
        ("{vm_id: a, server_addr: a, port: 1, tls_port: 2, tls: true}", "there is one port"),
        ("{vm_id: a, server_addr: a, port: 1, domain: x}", "domain needs the host"),
        ("{vm_id: a, server_addr: a b, port: 1}", "SPICE URI: the host"),
        ("{vm_id: a, server_addr: a, port: 1, host_subject: CN=x, tls_verify: no}", "host_subject has no meaning"),
        ("{vm_id: '', server_addr: a, port: 1}", "vm_id is empty"),
        ("{vm_id: a, uri: 'spice://a:1?password=hunter2'}", "it belongs into `password`"),
        ("{vm_id: a, uri: 'spice://hunter2@a:1'}", "there is no user before the host"),
        ("{vm_id: a, server_addr: a, port: 1, password: 12345}", "a password is a text"),
        ("{vm_id: a, server_addr: a, port: 1, password: [hunter2]}", "a password is a text"),
        ("{vm_id: a, server_addr: a, port: 1, password: {}}", "a password is a text, or one of"),
        ("{vm_id: a, server_addr: a, port: 1, password: {env: A, file: b}}", "a password is a text, or one of"),
        ("{vm_id: a, server_addr: a, port: 1, password: {value: hunter2}}", "a password is a text"),
        ("{vm_id: a, server_addr: a, port: 1, password: {command: pass show}}", "command is a list"),
        ("{vm_id: a, server_addr: a, port: 1, pasword: hunter2}", "there is no such setting"),
    ],
)
def test_machines_that_cannot_be_meant(mistakes, vm, problem):
    (line,) = mistakes(f"spice: {{vms: [{vm}]}}\n")
    assert line.startswith("FILE:1:")
    assert problem in line
    assert "hunter2" not in line
    assert "12345" not in line


def test_a_secret_that_is_no_text_is_not_shown(mistakes):
    assert mistakes("spice: {tls: {key_password: 77123}}\n") == [
        "FILE:1:29 spice.tls.key_password: a text is wanted; a number or a truth value stands in quotes"
    ]


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigMistakes, match=r"none\.yaml: the file cannot be read: No such file"):
        load_config(tmp_path / "none.yaml", {})
    with pytest.raises(ConfigMistakes, match="Is a directory"):
        load_config(tmp_path, {})


def test_it_is_a_config_error():
    assert issubclass(ConfigMistakes, ConfigError)


def test_passwords_in_the_file_are_warned_of(tmp_path):
    path = tmp_path / "atp.yaml"
    path.write_text(DESIGN + "  tls: {key_password: hunter2}\n")
    loaded = read_config(path, {})
    assert [(one.place.line, one.place.column, one.key) for one in loaded.warnings] == [
        (10, 17, "spice.vms[0].password"),
        (17, 23, "spice.tls.key_password"),
    ]
    assert "optional_password" not in repr(loaded)
    assert "hunter2" not in repr(loaded)
    assert not read_config(path, {"ATP_SPICE__VMS__VM1__PASSWORD": "x", "ATP_SPICE__TLS__KEY_PASSWORD": "y"}).warnings


def test_secrets_are_not_shown():
    assert "hunter2" not in repr(Secret(value="hunter2"))


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["host1", "main", "spice://a:1"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["id", "host", "vm_id", "vms", "password", "tls", "channels", "open", "interval", "env", "port", "x"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
documents = st.dictionaries(st.sampled_from(["hosts", "spice", "pool", "heartbeat", "reconnect", "x"]), values)


def mistakes_of(path):
    """What is wrong with a file, at least one thing; None where nothing is."""
    try:
        load_config(path, {})
    except ConfigMistakes as error:
        return error.mistakes
    return None


@given(documents)
def test_any_values_are_a_configuration_or_mistakes(tmp_path_factory, data):
    import yaml

    path = tmp_path_factory.mktemp("any") / "atp.yaml"
    path.write_text(yaml.safe_dump(data, allow_unicode=True))
    assert all(mistake.place.line >= 1 for mistake in mistakes_of(path) or ())


@given(st.binary(max_size=60) | st.text(alphabet="a:-[]{}&*!|>'\"\n #,?%@<", max_size=60).map(str.encode))
def test_any_bytes_are_a_configuration_or_mistakes(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("any") / "atp.yaml"
    path.write_bytes(data)
    assert mistakes_of(path) != ()
