"""All commands, and from a command line to an exit code."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

from cyclopts import App, CycloptsError, Parameter

import atp_trio
from atp_trio.cli.bench import bench
from atp_trio.cli.click import click
from atp_trio.cli.config import CONFIG
from atp_trio.cli.doctor import doctor
from atp_trio.cli.domains import domains
from atp_trio.cli.execute import WRONG_USAGE, complain, execute
from atp_trio.cli.guest import guest
from atp_trio.cli.info import info
from atp_trio.cli.key import key
from atp_trio.cli.place import join_domain
from atp_trio.cli.qga import qga
from atp_trio.cli.qmp import qmp
from atp_trio.cli.record import record
from atp_trio.cli.screenshot import screenshot
from atp_trio.cli.serial import serial
from atp_trio.cli.serve import serve
from atp_trio.cli.status import status
from atp_trio.cli.type import type_text
from atp_trio.cli.wait import wait
from atp_trio.errors import ConfigError

SPICE_COMMANDS: Final[dict[str, Callable[..., Awaitable[int | None]]]] = {
    "info": info,
    "screenshot": screenshot,
    "record": record,
    "wait": wait,
    "type": type_text,
    "key": key,
    "click": click,
    "bench": bench,
}
"""The commands that take a SPICE URI, or HOST_URI DOMAIN."""

COMMANDS: Final[dict[str, Callable[..., Awaitable[int | None]]]] = {
    **SPICE_COMMANDS,
    "domains": domains,
    "doctor": doctor,
    "status": status,
    "serve": serve,
    "guest": guest,
    "qmp": qmp,
    "qga": qga,
    "serial": serial,
}


def _make() -> App:
    app = App(
        name="atp",
        help="See, operate and measure QEMU/KVM virtual machines over SPICE and libvirt.",
        version=f"atp-trio {atp_trio.__version__}",
        help_format="plaintext",
        help_formatter="default" if sys.stdout.isatty() else "plain",
        default_parameter=Parameter(negative=()),
    )
    for name, command in COMMANDS.items():
        app.command(command, name=name)
    app.command(CONFIG)
    return app


def run(argv: Sequence[str]) -> int:
    """Run a command line, without the program's name; gives the exit code.

    What can be expected to go wrong is one line on standard error. Anything that is raised is a bug.
    """
    try:
        words = join_domain(argv) if argv[:1] and argv[0] in SPICE_COMMANDS else list(argv)
        command, bound, _ = _make().parse_args(words, exit_on_error=False, print_error=False, verbose=False)
    except (CycloptsError, ConfigError) as error:
        return complain(error, WRONG_USAGE)
    call = partial(command, *bound.args, **bound.kwargs)
    if inspect.iscoroutinefunction(command):
        return execute(call)
    call()  # --help, --version
    return 0
