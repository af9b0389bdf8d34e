"""`atp serve`: an embedded server, to point clients at."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

import trio
from cyclopts import Parameter
from cyclopts.validators import Number

import atp_trio
from atp_trio.cli.access import PASSWORD_VARIABLE, NotNegative
from atp_trio.cli.output import print_line

Port = Annotated[int, Parameter(validator=Number(gte=0, lte=65535))]


async def serve(
    *,
    scene: Annotated[str, Parameter(help="What is shown: still, text, rectangles, video or scroll.")] = "text",
    size: Annotated[str, Parameter(help="WxH, in pixels.")] = "1024x768",
    rate: Annotated[
        float, Parameter(help="Updates, or frames of a video, in a second; 0 for as many as the client takes."), NotNegative
    ] = 20.0,
    codec: Annotated[str, Parameter(help="How images are sent: raw, lz, quic or jpeg.")] = "raw",
    name: Annotated[str, Parameter(help="The machine's name.")] = "atp-trio",
    host: Annotated[str, Parameter(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[Port, Parameter(help="The port without TLS; 0 takes one that is free.")] = 0,
    tls_port: Annotated[Port, Parameter(help="The port with TLS, where there is a certificate.")] = 0,
    unix: Annotated[Path | None, Parameter(help="Listen on this UNIX socket instead.")] = None,
    tls_cert: Annotated[Path | None, Parameter(help="The server's certificate (PEM).")] = None,
    tls_key: Annotated[Path | None, Parameter(help="Its key, where the certificate's file does not hold it.")] = None,
    password_file: Annotated[
        Path | None, Parameter(help=f"A file that holds the password. Without it: the variable {PASSWORD_VARIABLE}, or none.")
    ] = None,
) -> None:
    """Run a SPICE server without a machine behind it; print its URI, and serve until SIGINT or SIGTERM."""
    from atp_trio.testing.server import open_spice_server

    server = open_spice_server(
        scene=scene,
        size=parse_size(size),
        rate=rate,
        codec=codec,
        name=name,
        host=host,
        port=port,
        tls_port=tls_port,
        unix_path=unix,
        cert_file=tls_cert,
        key_file=tls_key,
        password=read_password(password_file),
        fresh_keys=True,
    )
    async with server as running:
        print_line(running.uri)
        await trio.sleep_forever()


def parse_size(text: str) -> tuple[int, int]:
    """Read a size in pixels, `WxH`.

    Raises:
        ConfigError: It is none.
    """
    match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text, re.ASCII)
    if match is None:
        raise atp_trio.ConfigError(f"{text!r} is not a size in pixels, WxH")
    return int(match[1]), int(match[2])


def read_password(path: Path | None) -> str | None:
    """The password for a server of ours: of the file or, without one, the environment's; None for none.

    Raises:
        ConfigError: The file is no text.
        OSError: It cannot be read.
    """
    if path is None:
        return os.environ.get(PASSWORD_VARIABLE)
    try:
        return path.read_text("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise atp_trio.ConfigError(f"the password file {path} is not UTF-8") from None
