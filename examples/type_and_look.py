"""Type a command into a machine and save what its screen shows.

Run it against the built-in server: `atp serve` prints a URI.
"""

import sys

import trio

import atp_trio


async def main(uri: str, text: str, path: str) -> None:
    async with atp_trio.open_spice(uri) as vm:
        await vm.inputs.type_text(text + "\n")
        with trio.move_on_after(2):  # a machine that shows nothing new is looked at all the same
            await vm.display.wait_damage()
        screenshot = await vm.display.screenshot()
        await trio.to_thread.run_sync(screenshot.save, path)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: type_and_look.py URI TEXT FILE.png")
    trio.run(main, *sys.argv[1:])
