import pytest

from atp_trio.errors import HypervisorError
from atp_trio.hypervisor.graphics import parse_spice_endpoint


def xml(graphics):
    return f"<domain><devices><disk/>{graphics}</devices></domain>"


def listening(address, attributes="port='5900'"):
    return xml(f"<graphics type='spice' {attributes}><listen type='address' address='{address}'/></graphics>")


@pytest.mark.parametrize(
    ("text", "host", "uri"),
    [
        (listening("127.0.0.1"), None, "spice://127.0.0.1:5900"),
        (listening("127.0.0.1", "port='5900' tlsPort='5901'"), None, "spice://127.0.0.1:5900?tls-port=5901"),
        (listening("127.0.0.1", "port='-1' tlsPort='5901'"), None, "spice+tls://127.0.0.1:5901"),
        (listening("0.0.0.0"), None, "spice://127.0.0.1:5900"),
        (listening("::"), None, "spice://[::1]:5900"),
        (listening("0.0.0.0"), "there.example", "spice://there.example:5900"),
        (listening("::"), "fe80::7", "spice://[fe80::7]:5900"),
        (listening("10.0.0.7"), "there.example", "spice://10.0.0.7:5900"),
        (listening("spice.example"), "there.example", "spice://spice.example:5900"),
        (listening("127.0.0.1"), "localhost", "spice://127.0.0.1:5900"),
        (listening("127.0.0.1"), "127.0.0.1", "spice://127.0.0.1:5900"),
        (xml("<graphics type='spice' port='5900' listen='0.0.0.0'/>"), "h", "spice://h:5900"),
        (xml("<graphics type='spice' port='5900'/>"), None, "spice://127.0.0.1:5900"),
        (
            xml("<graphics type='spice' port='5900'><listen type='network' network='n' address='0.0.0.0'/></graphics>"),
            "h",
            "spice://h:5900",
        ),
        (
            xml("<graphics type='spice'><listen type='socket' socket='/run/a.sock'/></graphics>"),
            None,
            "spice+unix:///run/a.sock",
        ),
    ],
)
def test_where_it_is(text, host, uri):
    assert str(parse_spice_endpoint(text, host).uri) == uri


def test_other_graphics_are_counted():
    endpoint = parse_spice_endpoint(xml("<graphics type='vnc' port='5900'/><graphics type='spice' port='5901'/>"), None)
    assert (endpoint.index, endpoint.uri.port) == (1, 5901)


def test_no_listener():
    endpoint = parse_spice_endpoint(xml("<graphics type='spice'><listen type='none'/></graphics>"), "h")
    assert endpoint.uri is None


def test_password():
    endpoint = parse_spice_endpoint(xml("<graphics type='spice' port='5900' passwd='hunter2'/>"), None)
    assert endpoint.password == "hunter2"
    assert "hunter2" not in repr(endpoint)
    assert parse_spice_endpoint(xml("<graphics type='spice' port='5900'/>"), None).password is None


@pytest.mark.parametrize(
    ("text", "host", "words"),
    [
        (xml("<graphics type='vnc' port='5900'/>"), None, "no SPICE"),
        ("<domain/>", None, "no SPICE"),
        ("<domain>", None, "no XML"),
        (xml("<graphics type='spice' port='-1' autoport='yes'/>"), None, "not running"),
        (xml("<graphics type='spice' port='99999'/>"), None, "not running"),
        (xml("<graphics type='spice'><listen type='socket'/></graphics>"), None, "not running"),
        (xml("<graphics type='spice'><listen type='socket' socket='/s'/></graphics>"), "there", "another machine"),
        (listening("127.0.0.1"), "there", "tunnel"),
        (listening("::1"), "there", "tunnel"),
    ],
)
def test_where_it_is_not(text, host, words):
    with pytest.raises(HypervisorError, match=words):
        parse_spice_endpoint(text, host)
