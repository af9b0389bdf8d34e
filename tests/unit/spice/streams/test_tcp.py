"""open_tcp_stream: options, errors in words, cancellation."""

import socket

import pytest
import trio

from atp_trio.errors import ConfigError, ConnectFailed
from atp_trio.spice.streams.tcp import open_tcp_stream


class Resolver(trio.abc.HostnameResolver):
    """Answers without a network."""

    def __init__(self, *answers):
        self.answers = answers

    async def getaddrinfo(self, host, port, *_, **__):
        if not self.answers:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answer, port)) for answer in self.answers]

    async def getnameinfo(self, sockaddr, flags):
        raise NotImplementedError


async def test_bytes_go_both_ways(serve):
    server = await serve()
    async with await open_tcp_stream("127.0.0.1", server.port) as stream:
        assert stream.address == f"127.0.0.1:{server.port}"
        await stream.send_all(b"hello")
        assert await stream.receive_some() == b"hello"


async def test_the_socket_options_are_those_of_spice_gtk(serve):
    server = await serve()
    async with await open_tcp_stream("127.0.0.1", server.port) as stream:
        option = stream._socket.getsockopt
        assert option(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        assert option(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert option(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
        assert option(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 10
        assert option(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 2


async def test_every_address_is_tried(serve):
    server = await serve()
    trio.socket.set_custom_hostname_resolver(Resolver("127.0.0.2", "127.0.0.1"))  # nobody listens on the first
    async with await open_tcp_stream("two.example", server.port) as stream:
        assert stream._socket.getpeername() == ("127.0.0.1", server.port)


async def test_nobody_listens(free_port):
    with pytest.raises(ConnectFailed, match=rf"^cannot connect to 127.0.0.1:{free_port}: Connection refused$") as caught:
        await open_tcp_stream("127.0.0.1", free_port)
    assert isinstance(caught.value.__cause__, OSError)


async def test_the_same_reason_is_given_once(free_port):
    trio.socket.set_custom_hostname_resolver(Resolver("127.0.0.2", "127.0.0.1"))
    with pytest.raises(ConnectFailed, match=rf"^cannot connect to two.example:{free_port}: Connection refused$"):
        await open_tcp_stream("two.example", free_port)


async def test_no_such_host():
    trio.socket.set_custom_hostname_resolver(Resolver())
    with pytest.raises(ConnectFailed, match=r"^cannot connect to nowhere.example:5900: Name or service not known$"):
        await open_tcp_stream("nowhere.example", 5900)


async def test_an_ipv6_address_is_named_in_brackets(free_port):
    with pytest.raises(ConnectFailed, match=rf"^cannot connect to \[::1\]:{free_port}: "):
        await open_tcp_stream("::1", free_port)


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "nul\0nul", "x..y"])
async def test_what_is_no_host_name_is_refused(host):
    with pytest.raises(ConnectFailed, match="cannot connect to"):
        await open_tcp_stream(host, 5900)


@pytest.mark.parametrize("port", [-1, 0, 65536])
async def test_what_is_no_port_is_refused(port):
    with pytest.raises(ConfigError, match=f"a port is 1 to 65535, not {port}"):
        await open_tcp_stream("127.0.0.1", port)


async def test_cancelled_anywhere_it_leaves_no_socket(serve, cancel_everywhere):
    server = await serve()
    steps = await cancel_everywhere(lambda: open_tcp_stream("127.0.0.1", server.port), server.idle)
    assert steps >= 1
