"""What QEMU is told of SPICE."""

from __future__ import annotations

from pathlib import Path

import pytest

from atp_trio.errors import ConfigError
from atp_trio.testing.spice_options import SpiceOptions


def spice_argument(**options):
    return SpiceOptions(**options).argument(5900, 5901, Path("/tmp/m/spice.sock"))


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({}, "addr=127.0.0.1,port=5900,disable-ticketing=on"),
        ({"password": "secret"}, "addr=127.0.0.1,port=5900"),
        ({"password": ""}, "addr=127.0.0.1,port=5900"),
        ({"unix": True}, "unix=on,addr=/tmp/m/spice.sock,disable-ticketing=on"),
        ({"tls": Path("/t,ls"), "plain": False}, "addr=127.0.0.1,tls-port=5901,x509-dir=/t,,ls,disable-ticketing=on"),
        ({"tls": Path("/tls")}, "addr=127.0.0.1,port=5900,tls-port=5901,x509-dir=/tls,disable-ticketing=on"),
        (
            {"password": "", "image_compression": "glz", "streaming_video": "all", "more": ("zlib-glz-wan-compression=always",)},
            "addr=127.0.0.1,port=5900,image-compression=glz,streaming-video=all,zlib-glz-wan-compression=always",
        ),
    ],
)
def test_spice_options(options, argument):
    assert spice_argument(**options) == argument


@pytest.mark.parametrize("options", [{"plain": False}, {"unix": True, "tls": Path("/tls")}])
def test_spice_options_that_cannot_be_meant(options):
    with pytest.raises(ConfigError):
        SpiceOptions(**options)
