"""Getting in, with the options that every command shares."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    "uri",
    ["vnc://127.0.0.1:1", "127.0.0.1:5900", "spice://", "spice://h:99999", "ws://h:1", "spice://h:1#x", "spice+unix://path", ""],
)
@pytest.mark.parametrize("command", [["info"], ["bench"]])
def test_a_uri_that_cannot_be_meant(atp, command, uri):
    assert atp(*command, uri).says(2, "SPICE URI")


@pytest.mark.parametrize("command", ["info", "bench"])
def test_a_password_in_the_uri(atp, command):
    outcome = atp(command, "spice://127.0.0.1:1?password=sesame")
    assert outcome.says(2, "--password-file", "ATP_SPICE_PASSWORD")
    assert "sesame" not in outcome.err


@pytest.mark.parametrize("command", [["info"], ["bench"]])
def test_nobody_listens(atp, refusing, command):
    assert atp(*command, refusing).says(1, "Connection refused")


def test_no_such_host(atp):
    assert atp("info", "spice://nowhere.invalid:5900").says(1, "nowhere.invalid")


def test_no_such_socket(atp, tmp_path):
    assert atp("info", f"spice+unix://{tmp_path}/none.sock").says(1, "No such file or directory")


def test_unix(atp, tmp_path, serving):
    with serving(unix_path=tmp_path / "vm.sock") as server:
        assert atp("key", server.uri, "a").code == 0


@pytest.mark.parametrize("command", [["info"], ["bench"]])
def test_a_port_that_speaks_http(atp, answering, command):
    assert atp(*command, answering(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")).says(1, "SPICE")


def test_a_port_that_hangs_up(atp, answering):
    assert atp("info", answering(b"")).says(1, "closed the connection")


def test_a_port_that_never_answers(atp, answering):
    uri = answering(None)
    assert atp("info", uri, "--timeout", "0.1").says(1, f"no connection to {uri} within 0.1 s")


def test_password(atp, password_file, monkeypatch, serving):
    with serving(password="sesame") as server:
        assert atp("info", server.uri).says(1, "password")
        assert atp("info", server.uri, "--password-file", password_file("simsim")).says(1, "did not accept the password")
        assert atp("info", server.uri, "--password-file", password_file("sesame")).code == 0
        monkeypatch.setenv("ATP_SPICE_PASSWORD", "sesame")
        assert atp("info", server.uri).code == 0
        assert atp("bench", server.uri, "--scenario", "link", "--seconds", "0.01").code == 0


def test_a_password_file_that_is_not_there(atp, server, tmp_path):
    path = tmp_path / "none"
    assert atp("info", server.uri, "--password-file", path).says(2, str(path), "No such file or directory")


def test_a_password_that_is_too_long(atp, server, password_file):
    outcome = atp("info", server.uri, "--password-file", password_file("sesame" * 20))
    assert outcome.says(2)
    assert "sesame" not in outcome.err


def test_tls(atp, tls_server, tls_files, left_in_order):
    assert tls_server.uri.startswith("spice+tls://")
    assert atp("info", tls_server.uri, "--ca-file", tls_files.ca).code == 0
    assert atp("info", tls_server.uri, "--ca-file", tls_files.ca, "--host-subject", tls_files.subject).code == 0
    assert atp("info", tls_server.uri, "--insecure").code == 0
    assert left_in_order(tls_server)


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ([], 1, ("not trusted",)),
        (["--ca-file", "wrong-ca-cert.pem"], 1, ("not trusted",)),
        (["--ca-file", "none.pem"], 2, ("none.pem", "No such file or directory")),
        (["--ca-file", "server-key.pem"], 2, ("server-key.pem",)),
        (["--ca-file", "ca-cert.pem", "--host-subject", "O=other"], 1, ("subject",)),
        (["--ca-file", "ca-cert.pem", "--host-subject", "nonsense"], 2, ()),
        (["--insecure", "--host-subject", "O=atp"], 2, ("host_subject",)),
        (["--insecure", "--key-file", "server-key.pem"], 2, ("cert_file",)),
        (["--insecure", "--cert-file", "ca-cert.pem", "--key-file", "server-key.pem"], 2, ("ca-cert.pem",)),
    ],
)
def test_tls_that_cannot_be_had(atp, tls_server, tls_files, monkeypatch, options, code, words):
    monkeypatch.chdir(tls_files.directory)
    assert atp("info", tls_server.uri, *options).says(code, *words)


def test_tls_where_there_is_none(atp, server):
    assert atp("info", server.uri.replace("spice:", "spice+tls:"), "--insecure").says(1, "TLS")
