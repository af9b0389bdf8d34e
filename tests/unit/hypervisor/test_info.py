import pytest

from atp_trio.errors import ConfigError
from atp_trio.hypervisor.credentials import Credentials
from atp_trio.hypervisor.info import HostInfo
from atp_trio.hypervisor.uri import HostUri


def test_without_a_uri_it_is_ssh():
    assert str(HostInfo("h1", "192.168.1.10").connect_uri) == "qemu+ssh://192.168.1.10/system"


def test_uri_as_text_or_object():
    info = HostInfo("h1", "host").with_uri("qemu+tcp://host/system")
    assert info.uri == HostUri.parse("qemu+tcp://host/system") == info.connect_uri
    assert info.id == "h1"
    assert HostInfo("h1", "host").with_uri(info.uri) == info


def test_from_uri():
    assert HostInfo.from_uri("qemu+tcp://there/system").host == "there"
    assert HostInfo.from_uri(HostUri.parse("qemu:///system")).id == "localhost"


def test_bad_uri_and_bad_host():
    with pytest.raises(ConfigError):
        HostInfo("h1", "host", "nonsense")
    with pytest.raises(ConfigError):
        _ = HostInfo("h1", "a b").connect_uri


def test_secrets_are_not_shown():
    assert "hunter2" not in repr(HostInfo("h1", "host", credentials=Credentials(username="me", password="hunter2")))
