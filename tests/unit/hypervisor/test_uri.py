import pytest
from hypothesis import given
from hypothesis import strategies as st

from atp_trio.errors import ConfigError
from atp_trio.hypervisor.uri import HostUri

CANONICAL = [
    "qemu+ssh://host/system",
    "qemu+ssh://root@host:22/system?keyfile=/k&no_verify=1",
    "qemu+libssh://host/system?known_hosts=/h&sshauth=privkey,agent",
    "qemu+libssh2://[fe80::1]:2222/session",
    "qemu+tcp://192.168.1.10:16509/system",
    "qemu+tls://host/system?pkipath=/etc/pki%20x",
    "qemu:///system",
    "qemu:///session",
    "qemu+unix:///system?socket=/run/libvirt/libvirt-sock",
    "test:///default",
    "test+tcp://host/default",
]


@pytest.mark.parametrize("text", CANONICAL)
def test_canonical_text_comes_back(text):
    assert str(HostUri.parse(text)) == text


def test_parts():
    uri = HostUri.parse("QEMU+SSH://me%40home@host:2222/system?keyfile=%2Fhome%2Fme%2Fkey&netcat=nc")
    assert (uri.driver, uri.transport, uri.user, uri.host, uri.port, uri.path) == (
        "qemu", "ssh", "me@home", "host", 2222, "/system",
    )  # fmt: skip
    assert uri.get("keyfile") == "/home/me/key"
    assert uri.get("pkipath") is None
    assert not uri.is_local
    assert HostUri.parse("qemu:///system").is_local


def test_host_without_transport_means_tls():
    assert str(HostUri.parse("qemu://host/system")) == "qemu+tls://host/system"


def test_ssh_is_told_not_to_ask_unless_the_uri_says_otherwise():
    assert HostUri.parse("qemu+ssh://host/system").for_libvirt() == "qemu+ssh://host/system?no_tty=1"
    assert HostUri.parse("qemu+ssh://host/system?no_tty=0").for_libvirt() == "qemu+ssh://host/system?no_tty=0"
    assert HostUri.parse("qemu+tcp://host/system").for_libvirt() == "qemu+tcp://host/system"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "unknown scheme"),
        ("qemu:/system", "unknown scheme"),
        ("xen:///system", "unknown scheme"),
        ("qemu+rsh://host/system", "unknown scheme"),
        ("qemu+://host/system", "unknown scheme"),
        ("qemu+ssh:///system", "the host is missing"),
        ("qemu+unix://host/system", "no host"),
        ("qemu://@/system", "neither user nor port"),
        ("qemu://:22/system", "the host is missing"),
        ("qemu+ssh://host", "/system or /session"),
        ("qemu+ssh://host/", "/system or /session"),
        ("qemu+ssh://host/vm", "/system or /session"),
        ("test:///", "/default"),
        ("qemu+ssh://host:0/system", "1 to 65535"),
        ("qemu+ssh://host:65536/system", "1 to 65535"),
        ("qemu+ssh://host:x/system", "1 to 65535"),
        ("qemu+ssh://host:/system", "1 to 65535"),
        ("qemu+ssh://fe80::1/system", "brackets"),
        ("qemu+ssh://[host]/system", "brackets"),
        ("qemu+ssh://[::g]/system", "IPv6"),
        ("qemu+ssh://me:hunter2@host/system", "credentials"),
        ("qemu+ssh://-oProxyCommand=x/system", "the host is missing, or"),
        ("qemu+ssh://-l@host/system", "the user"),
        ("qemu+ssh://@host/system", "the user"),
        ("qemu+ssh://ho%st/system", "hexadecimal"),
        ("qemu+ssh://host/system?keyfile=%ff", "UTF-8"),
        ("qemu+ssh://host/system?keyfile=%00", "NUL"),
        ("qemu+ssh://host/system#x", "fragment"),
        ("qemu+ssh://host/system?keyfile", "parameter 1"),
        ("qemu+ssh://host/system?netcat=nc&password=hunter2", "parameter 2"),
        ("qemu+ssh://host/system?keyfile=/a&keyfile=/b", "keyfile is there twice"),
        ("qemu+ssh://host/system?known_hosts=/k", "known_hosts only over libssh, libssh2, not over ssh"),
        ("qemu+tcp://host/system?no_verify=1", "no_verify only over ssh, tls"),
        ("qemu:///system?pkipath=/p", "not over a local socket"),
        ("qemu+tls://host/system?no_verify=yes", "no_verify is 0 or 1"),
    ],
)
def test_what_cannot_be_meant_is_told(text, words):
    with pytest.raises(ConfigError, match="host URI: ") as caught:
        HostUri.parse(text)
    assert words in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_parts_given_one_by_one_are_checked_too():
    with pytest.raises(ConfigError, match="none of"):
        HostUri(parameters=(("nonsense", "1"),))
    with pytest.raises(ConfigError, match="unknown scheme"):
        HostUri(transport="rsh", host="h")


@given(st.text(max_size=40) | st.from_regex(r"qemu(\+(ssh|tcp|tls|libssh2?|unix))?://[^/]{0,12}/system(\?[a-z_]{1,9}=.{0,9})?"))
def test_any_text_is_a_uri_that_comes_back_or_a_config_error(text):
    try:
        uri = HostUri.parse(text)
    except ConfigError:
        return
    assert HostUri.parse(str(uri)) == uri
