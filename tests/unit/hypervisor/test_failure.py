import pytest

from atp_trio.errors import (
    AgentUnavailable,
    AuthenticationFailed,
    ConnectFailed,
    DomainNotFound,
    HypervisorError,
    QgaError,
    TlsError,
)
from atp_trio.hypervisor.failure import call_error, open_error

from .fake_libvirt import FakeError


@pytest.mark.parametrize(
    ("code", "kind"), [(42, DomainNotFound), (86, AgentUnavailable), (97, QgaError), (55, HypervisorError), (1, HypervisorError)]
)
def test_call_error(code, kind):
    error = call_error(FakeError("words", code, 10))
    assert type(error) is kind
    assert "words" in str(error)
    if isinstance(error, HypervisorError):
        assert (error.code, error.domain) == (code, 10)


@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        (45, "authentication failed: authentication failed", AuthenticationFailed),
        (38, "Cannot recv data: Permission denied (publickey).: Connection reset by peer", AuthenticationFailed),
        (1, "failed to authenticate: Access denied for 'publickey'.", AuthenticationFailed),
        (45, "authentication failed: Failed to verify peer's certificate", TlsError),
        (38, "Unable to read TLS confirmation: Input/output error", TlsError),
        (1, "The certificate is not trusted", TlsError),
        (38, "unable to connect to server at 'h:16509': Connection refused", ConnectFailed),
    ],
)
def test_open_error(code, message, kind):
    error = open_error(FakeError(message, code), "qemu+tcp://h/system")
    assert type(error) is kind
    assert str(error) == f"no connection to qemu+tcp://h/system: {message}"


def test_error_without_words():
    class Silent(FakeError):
        def get_error_message(self):
            return None

        def get_error_code(self):
            return None

    assert str(call_error(Silent("virConnectOpen() failed"))) == "virConnectOpen() failed"
