"""`atp guest`: a real machine with the test guest in it, to point clients at."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import trio
from cyclopts import Parameter
from cyclopts.validators import Number

from atp_trio.cli.access import PASSWORD_VARIABLE
from atp_trio.cli.output import print_fields, print_json
from atp_trio.cli.serve import read_password

if TYPE_CHECKING:
    from atp_trio.testing.qemu import Qemu


async def guest(
    *,
    display: Annotated[
        str, Parameter(help="QEMU's display device: qxl-vga, VGA, virtio-vga, `VGA,xres=800,yres=600` ...")
    ] = "qxl-vga",
    no_tablet: Annotated[bool, Parameter(help="A mouse alone, with relative positions.")] = False,
    memory: Annotated[int, Parameter(help="In MiB.", validator=Number(gte=128))] = 256,
    accel: Annotated[str, Parameter(help="As QEMU's -accel: kvm is faster, where it works.")] = "tcg,thread=multi",
    unix: Annotated[bool, Parameter(help="Offer SPICE on a UNIX socket instead of a TCP port.")] = False,
    tls_dir: Annotated[
        Path | None, Parameter(help="Offer SPICE with TLS, too: the directory of ca-cert.pem, server-cert.pem, server-key.pem.")
    ] = None,
    password_file: Annotated[
        Path | None, Parameter(help=f"A file that holds the password. Without it: the variable {PASSWORD_VARIABLE}, or none.")
    ] = None,
    json: Annotated[bool, Parameter(help="Print where it is as one JSON document.")] = False,
) -> None:
    """Start a QEMU machine with the test guest; print where it is, and run until it ends or SIGINT or SIGTERM comes.

    The guest is built from Debian packages when it is not there yet. It has a shell on the screen, the guest agent, and ports
    that echo, report input events and draw; everything is on this machine alone.
    """
    from atp_trio.testing.guest import DRAW_PORT, ECHO_PORT, EVENTS_PORT, build_guest
    from atp_trio.testing.qemu import Qemu, SpiceOptions

    machine = Qemu(
        guest=await trio.to_thread.run_sync(build_guest),
        display=display,
        tablet=not no_tablet,
        memory_mib=memory,
        accel=accel,
        spice=SpiceOptions(plain=not unix, unix=unix, tls=tls_dir, password=read_password(password_file)),
        ports=(ECHO_PORT, EVENTS_PORT, DRAW_PORT),
        agent=True,
        qmp_unix=True,
    )
    try:
        await trio.to_thread.run_sync(machine.__enter__)
        # Not abandoned: the machine is not for two threads at once. A signal is obeyed when the guest is up.
        await trio.to_thread.run_sync(machine.wait_ready)
        where = _describe(machine)
        if json:
            print_json(where)
        else:
            print_fields(list(where.items()))
        await _wait_end(machine)
    finally:
        with trio.CancelScope(shield=True):
            # Ends by force after five seconds.
            await trio.to_thread.run_sync(machine.stop)


def _describe(machine: Qemu) -> dict[str, str]:
    where = {"spice": machine.uri, "qmp": str(machine.qmp_path), "agent": str(machine.agent_path)}
    return where | {name: str(machine.port_path(name)) for name in machine.ports}


async def _wait_end(machine: Qemu) -> None:
    descriptor = os.pidfd_open(machine.pid)
    try:
        await trio.lowlevel.wait_readable(descriptor)
    finally:
        os.close(descriptor)
