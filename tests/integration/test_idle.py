"""A connection that nobody uses for a long time lives on.

Ten minutes by default, so this runs only where ATP_SLOW=1 asks for it; ATP_IDLE_SECONDS sets another time.
"""

from __future__ import annotations

import os

import pytest
import trio

from atp_trio.spice.connection import open_spice

SECONDS = float(os.environ.get("ATP_IDLE_SECONDS", "600"))
WITHIN = 60  # for everything but the waiting

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(SECONDS + 2 * WITHIN),
    pytest.mark.skipif(os.environ.get("ATP_SLOW") != "1", reason="takes ten minutes: ATP_SLOW=1 runs it"),
]


async def test_an_idle_connection_lives_on(qxl_machine, settle_screen, run_in_guest):
    with trio.fail_after(SECONDS + WITHIN):
        async with open_spice(qxl_machine.uri) as vm:
            await run_in_guest(vm, qxl_machine, "clear >/dev/tty1")
            before = await settle_screen(vm, qxl_machine)
            pings = {name: one.pings_answered for name, one in vm.statistics().items()}
            await trio.sleep(SECONDS)
            assert len(vm.channels) == 4
            assert (await settle_screen(vm, qxl_machine) == before).all()
            # The server asks the silent channels every now and then, and drops those that do not answer.
            answered = {name: one.pings_answered - pings[name] for name, one in vm.statistics().items()}
            assert min(answered["main:0"], answered["display:0"]) >= SECONDS // 20
            assert await run_in_guest(vm, qxl_machine, "echo alive") == "alive\n"
            await vm.inputs.position(5, 5)
            await settle_screen(vm, qxl_machine)
            assert vm.display.display_statistics().failed == {}
    assert qxl_machine.alive()
