"""SPICE URIs: what is read, what is refused, and that a password never shows."""

import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atp_trio.errors import ConfigError
from atp_trio.spice.streams.uri import SpiceUri

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("spice://host:5900", SpiceUri(host="host", port=5900)),
        ("SPICE://Host:5900/", SpiceUri(host="Host", port=5900)),
        ("spice://10.0.0.1:1?tls-port=65535", SpiceUri(host="10.0.0.1", port=1, tls_port=65535)),
        ("spice://h?TLS-Port=5901&Port=5900", SpiceUri(host="h", port=5900, tls_port=5901)),
        ("spice://h?tls-port=5901", SpiceUri(host="h", tls_port=5901)),
        ("spice+tls://h:5901", SpiceUri(host="h", tls_port=5901)),
        ("spice+tls://h?tls-port=5901", SpiceUri(host="h", tls_port=5901)),
        ("spice://[::1]:5900", SpiceUri(host="::1", port=5900)),
        ("spice://[fe80::1%25eth0]?port=5900", SpiceUri(host="fe80::1%eth0", port=5900)),
        ("spice://h:5900?password=a%20b%26c%3D%C3%A9+", SpiceUri(host="h", port=5900, password="a b&c=é+")),
        ("spice://h:5900?password=a=b", SpiceUri(host="h", port=5900, password="a=b")),
        ("spice://h:5900?password=", SpiceUri(host="h", port=5900, password="")),
        ("spice+unix:///run/a%20b.sock", SpiceUri(unix_path="/run/a b.sock")),
        ("spice+unix:///s?password=x", SpiceUri(unix_path="/s", password="x")),
        ("spice+unix://@name", SpiceUri(unix_path="@name")),
    ],
)
def test_what_is_read(text, uri):
    assert SpiceUri.parse(text) == uri


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "unknown scheme; known are spice://host:port"),
        ("host:5900", "unknown scheme"),
        ("spice:host:5900", "unknown scheme"),
        ("vnc://h:5900", "unknown scheme"),
        ("ws://h:5900", r"WebSocket \(ws://, wss://\) is not supported yet"),
        ("wss://h:5900", "WebSocket"),
        ("spice://", "the host is missing"),
        ("spice://:5900", "the host is missing"),
        ("spice://h", "the port is missing"),
        ("spice+tls://h", "the port is missing"),
        ("spice://h:", "the port is not a number"),
        ("spice://h:abc", "the port is not a number"),
        ("spice://h:٣", "the port is not a number"),
        ("spice://h:+1", "the port is not a number"),
        ("spice://h:" + "0" * 6 + "1", "the port is not a number"),
        ("spice://h:" + "9" * 9999, "the port is not a number"),
        ("spice://h:0", "the port is not from 1 to 65535"),
        ("spice://h:65536", "the port is not from 1 to 65535"),
        ("spice://h:1?tls-port=0", "the tls-port is not from 1 to 65535"),
        ("spice://h:1?tls-port=x", "the tls-port is not a number"),
        ("spice://h:1?tls-port=", "the tls-port is not a number"),
        ("spice://h:1?port=2", "after the host and in the query"),
        ("spice+tls://h:1?tls-port=2", "after the host and in the query"),
        ("spice+tls://h:1?port=2", "spice\\+tls has no plain port"),
        ("spice://h?port=1&port=2", "parameter 2 of the query is there twice"),
        ("spice://h?port=1&PORT=1", "parameter 2 of the query is there twice"),
        ("spice://h:1?colour=red", "parameter 1 of the query is none of"),
        ("spice://h:1?tls_port=2", "parameter 1 of the query is none of"),
        ("spice://h:1?password", "parameter 1 of the query is none of"),
        ("spice://h:1?password=a&", "parameter 2 of the query is none of"),
        ("spice://user@h:1", "no user before the host"),
        ("spice://h:1/path", "nothing but a query"),
        ("spice://h:1#top", "no fragment"),
        ("spice://::1:5900", "in brackets"),
        ("spice://[::1:5900", "in brackets"),
        ("spice://[::1]x:5900", "in brackets"),
        ("spice://[host]:5900", "only an IPv6 address stands in brackets"),
        ("spice://[1::2::3]:5900", "not an IPv6 address"),
        ("spice://a b:5900", "characters that no host name has"),
        ("spice://a\nb:5900", "characters that no host name has"),
        ("spice://a%00b:5900", "characters that no host name has"),
        ("spice://a%2Fb:5900", "characters that no host name has"),
        ("spice://a%zz:5900", "a % in the host is not followed by two"),
        ("spice://h:1?password=100%", "a % in the value of parameter 1 is not followed by two"),
        ("spice://h:1?password=%ff", "the value of parameter 1 is not UTF-8"),
        ("spice://h:1?password=\ud800", "the value of parameter 1 is not UTF-8"),
        ("spice://h:1?password=a%00", "NUL"),
        ("spice+unix://run/s", "three slashes"),
        ("spice+unix://", "three slashes"),
        ("spice+unix:///a%00b", "NUL"),
        ("spice+unix:///s?port=1", "a UNIX socket has no ports"),
    ],
)
def test_what_is_refused(text, sentence):
    with pytest.raises(ConfigError, match=sentence) as caught:
        SpiceUri.parse(text)
    assert str(caught.value).startswith("SPICE URI: ")


@pytest.mark.parametrize(
    "fields",
    [{}, {"host": "h", "unix_path": "/s", "port": 1}, {"host": "h"}, {"host": "h", "port": 0}, {"host": "h", "tls_port": 65536}],
)
def test_what_cannot_be_put_together(fields):
    with pytest.raises(ConfigError, match="SPICE URI"):
        SpiceUri(**fields)


@pytest.mark.parametrize(
    "text",
    [
        "spice://host:5900",
        "spice://host:5900?tls-port=5901",
        "spice+tls://host:5901",
        "spice://[fe80::1%25eth0]:5900",
        "spice+unix:///run/a%20b.sock",
        "spice+unix://@name",
    ],
)
def test_it_is_written_as_it_is_read(text):
    assert str(SpiceUri.parse(text)) == text


@given(
    st.builds(
        SpiceUri,
        host=st.sampled_from(["h", "10.0.0.1", "::1", "fe80::1%é", "é.example"]),
        port=st.integers(1, 65535),
        tls_port=st.none() | st.integers(1, 65535),
    )
    | st.builds(SpiceUri, unix_path=st.text(st.characters(codec="utf-8", exclude_characters="\0")).map("/{}".format))
)
def test_reading_what_was_written_gives_the_same(uri):
    assert SpiceUri.parse(str(uri)) == uri


@given(st.text() | st.text().map("spice://h:1?{}".format) | st.text().map("spice://{}".format))
def test_any_text_is_a_uri_or_a_config_error(text):
    try:
        uri = SpiceUri.parse(text)
    except ConfigError:
        return
    assert SpiceUri.parse(str(uri)).host == uri.host


def test_neither_str_nor_repr_shows_the_password():
    uri = SpiceUri.parse(f"spice://h:1?password={SECRET}")
    assert uri.password == SECRET
    assert SECRET not in str(uri) + repr(uri)
    assert str(uri) == "spice://h:1"


@pytest.mark.parametrize(
    "text",
    [
        f"{SECRET}",
        f"{SECRET}://h:1",
        f"spice://h:1?{SECRET}",
        f"spice://h:1?password=%zz{SECRET}",
        f"spice://h:1?password=%ff{SECRET}",
        f"spice://h:1?password=%00{SECRET}",
        f"spice://h:1?password=a&{SECRET}=b",
        f"spice://h:1?password={SECRET}&password={SECRET}",
        f"spice://h:1?password={SECRET}#{SECRET}",
        f"spice://h:1?port={SECRET}",
        f"spice://user:{SECRET}@h:1",
        f"spice://user:{SECRET}/@h:1",
        f"spice://h:{SECRET}",
        f"spice://[{SECRET}]:1",
        f"spice://[:{SECRET}]:1",
        f"spice://{SECRET} :1",
        f"spice://h:1/{SECRET}",
        f"spice+unix://{SECRET}",
        f"ws://h:1?password={SECRET}",
    ],
)
def test_no_error_repeats_what_may_be_a_password(text):
    with pytest.raises(ConfigError) as caught:
        SpiceUri.parse(text)
    # chain=True prints causes and contexts as a program that does not catch the error would.
    printed = "".join(traceback.format_exception(caught.value))
    assert SECRET not in "\n".join(line for line in printed.splitlines() if not line.startswith("    "))
    assert SECRET not in repr(caught.value)
