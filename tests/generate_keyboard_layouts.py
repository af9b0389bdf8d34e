"""Make the keyboard layouts that atp-trio ships, and the tables that its tests hold against them. For development only.

    python tests/generate_keyboard_layouts.py          # needs the package xkbcommon, xkb-data and libX11's Compose files
    python tests/generate_keyboard_layouts.py --qemu   # the same, and asks a QEMU and Linux's headers for their names of the keys

What is shipped (src/atp_trio/keyboard/) is read off the keymap with modifier masks, and off the text of the Compose file. The
tests' tables (tests/data/keyboard/) are what libxkbcommon's state machines answer to keys that are pressed and released one by
one, Shift and AltGr and Caps Lock among them. So the two agree only if both are right.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

from xkbcommon import xkb

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "src"))

from atp_trio.keyboard.key import Key  # noqa: E402

SHIPPED = ROOT / "src/atp_trio/keyboard"
ORACLE = ROOT / "tests/data/keyboard"
COMPOSE = Path("/usr/share/X11/locale/en_US.UTF-8/Compose")
HEADER = Path("/usr/include/linux/input-event-codes.h")

NAMES = [
    "us", "us(intl)", "us(altgr-intl)", "us(dvorak)", "us(colemak)", "gb", "gb(extd)", "ie", "ca", "latam", "br", "de",
    "de(nodeadkeys)", "at", "ch", "ch(fr)", "fr", "fr(nodeadkeys)", "fr(oss)", "fr(bepo)", "be", "nl", "es", "it", "pt",
    "se", "no", "dk", "fi", "is", "ee", "lv", "lt", "pl", "cz", "cz(qwerty)", "sk", "hu", "ro", "hr", "si", "rs", "bg",
    "gr", "tr", "tr(f)", "ru", "ua", "by", "il", "jp", "kr",
]  # fmt: skip

# The keys that type: the main block and the additional ones of European, Brazilian and Japanese keyboards, not the keypad.
TYPING = [key for key in Key if key.evdev in {*range(2, 14), *range(16, 28), *range(30, 42), *range(43, 54), 57, 86, 89, 124}]
SHIFT, CAPSLOCK, ALTGR = (key.evdev + 8 for key in (Key.LEFTSHIFT, Key.CAPSLOCK, Key.RIGHTALT))
UP, DOWN = xkb.KeyDirection.XKB_KEY_UP, xkb.KeyDirection.XKB_KEY_DOWN

context = xkb.Context()


def symbol_of(sym: int) -> str:
    """Give a keysym as our tables have it: a character, the name of a dead key, or nothing."""
    name: str = xkb.keysym_get_name(sym)
    if name.startswith("dead_"):
        return name
    text = xkb.keysym_to_string(sym) or ""
    return text if len(text) == 1 and unicodedata.category(text) != "Cc" else ""


def keymap_of(name: str, options: str = "") -> xkb.Keymap:
    layout, _, variant = name.rstrip(")").partition("(")
    return context.keymap_new_from_names(rules="evdev", model="pc105", layout=layout, variant=variant, options=options)


def has_altgr(keymap: xkb.Keymap) -> bool:
    return bool(xkb.keysym_get_name(keymap.state_new().key_get_one_sym(ALTGR)) == "ISO_Level3_Shift")


def layout_table(keymap: xkb.Keymap) -> dict[str, Any]:
    """Read off the keymap what each key types, by modifier masks."""
    shift, lock, altgr = (1 << keymap.mod_get_index(name) for name in ("Shift", "Lock", "Mod5"))
    masks = [0, shift, altgr, shift | altgr][: 4 if has_altgr(keymap) else 2]
    keys: dict[str, list[str]] = {}
    caps: dict[str, list[int]] = {}
    for key in TYPING:
        plain, locked = ([symbol_at(keymap, key.evdev + 8, mask, lock_mask) for mask in masks] for lock_mask in (0, lock))
        changed = [level for level, symbol in enumerate(plain) if symbol and symbol != locked[level]]
        while plain and not plain[-1]:
            plain.pop()
        if plain:
            keys[key.name] = plain
        if changed:
            caps[key.name] = changed
    return {"title": keymap.layout_get_name(0), "keys": keys, "caps": caps}


def symbol_at(keymap: xkb.Keymap, keycode: int, depressed: int, locked: int) -> str:
    state = keymap.state_new()
    state.update_mask(depressed, 0, locked, 0, 0, 0)
    return symbol_of(state.key_get_one_sym(keycode))


def compose_trie(symbols: set[str]) -> dict[str, Any]:
    """Read the Compose file's sequences that begin with a dead key and stay within the symbols of our layouts."""
    trie: dict[str, Any] = {}
    for line in COMPOSE.read_text(encoding="utf-8").splitlines():
        match = re.match(r'\s*((?:<\w+>\s*)+):\s*"((?:\\.|[^"])+)"', line)
        names = re.findall(r"<(\w+)>", match[1]) if match else []
        if not match or not names[0].startswith("dead_"):
            continue
        sequence = [symbol_of(xkb.keysym_from_name(name)) for name in names]
        result = re.sub(r"\\(.)", r"\1", match[2])
        if symbols.issuperset(sequence) and len(result) == 1:
            node = trie
            for symbol in sequence[:-1]:
                node = node.setdefault(symbol, {})
            node[sequence[-1]] = result
    return trie


def oracle_table(name: str) -> dict[str, Any]:
    """Press keys and note what they type: by evdev number, without and with Shift, AltGr and both."""
    keymap = keymap_of(name, "caps:capslock")  # the Caps Lock key locks, even where a layout makes it a Backspace (Colemak)
    held: list[list[int]] = [[], [SHIFT], [ALTGR], [SHIFT, ALTGR]]
    syms: dict[str, int] = {}

    def press(keycode: int, modifiers: list[int], *, capslock: bool) -> str:
        state = keymap.state_new()
        if capslock:
            state.update_key(CAPSLOCK, DOWN)
            state.update_key(CAPSLOCK, UP)
        for modifier in modifiers:
            state.update_key(modifier, DOWN)
        sym = state.key_get_one_sym(keycode)
        symbol = symbol_of(sym)
        if symbol:
            syms.setdefault(symbol, sym)
        return symbol

    typed, locked = (
        {str(key.evdev): [press(key.evdev + 8, modifiers, capslock=capslock) for modifiers in held] for key in TYPING}
        for capslock in (False, True)
    )
    return {"typed": typed, "capslock": locked, "composed": composed(syms)}


def composed(syms: dict[str, int]) -> dict[str, Any]:
    """Feed dead keys and what follows them to the compose state machine, and note what comes out."""
    table = context.compose_table_new_from_buffer(COMPOSE.read_bytes(), "en_US.UTF-8")
    state = table.compose_state_new()

    def follow(prefix: list[int], candidates: dict[str, int]) -> dict[str, Any]:
        node: dict[str, Any] = {}
        for symbol, sym in sorted(candidates.items()):
            state.reset()
            for fed in (*prefix, sym):
                state.feed(fed)
            status = state.get_status()
            if status == xkb.ComposeStatus.XKB_COMPOSE_COMPOSED:
                node[symbol] = state.get_utf8()
            elif status == xkb.ComposeStatus.XKB_COMPOSE_COMPOSING and (further := follow([*prefix, sym], syms)):
                node[symbol] = further
        return node

    return follow([], {symbol: sym for symbol, sym in syms.items() if len(symbol) > 1})


def ask_qemu() -> dict[str, Any]:
    """Ask QEMU for its QKeyCode names, and which of them it takes each scancode for (a number: 0x80 added for an e0 prefix)."""
    log = ORACLE / "trace.log"
    arguments = ["-M", "pc", "-accel", "tcg", "-display", "none", "-nodefaults", "-qmp", "stdio", "-trace", "input_event_*", "-D"]
    with subprocess.Popen(
        ["qemu-system-x86_64", *arguments, str(log)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as qemu:
        requests, replies = qemu.stdin, qemu.stdout
        assert requests
        assert replies
        replies.readline()

        def call(execute: str, **arguments: Any) -> Any:
            requests.write(json.dumps({"execute": execute, "arguments": arguments}) + "\n")
            requests.flush()
            while "event" in (reply := json.loads(replies.readline())):
                pass
            return reply["return"]

        call("qmp_capabilities")
        qcodes = next(entry["values"] for entry in call("query-qmp-schema") if "kp_enter" in entry.get("values", ()))
        version = call("query-version")["qemu"]
        for number in range(1, 256):
            # The motion before each key marks in the trace which number the key was.
            call("input-send-event", events=[{"type": "rel", "data": {"axis": "x", "value": number}}])
            key = {"type": "number", "data": number}
            for down in (True, False):
                call("input-send-event", events=[{"type": "key", "data": {"down": down, "key": key}}])
        call("quit")
    trace = re.findall(r"axis x, value (\d+)\n(?:input_event_sync.*\n)*.*key qcode (\w+), down 1", log.read_text())
    log.unlink()
    return {
        "version": "{major}.{minor}.{micro}".format(**version),
        "qcodes": qcodes,
        "numbers": {number: qcode for number, qcode in trace if qcode != "unmapped"},
    }


def evdev_numbers() -> dict[str, int]:
    numbers = dict(re.findall(r"^#define\s+KEY_(\w+)\s+(\d+)\b", HEADER.read_text(), re.MULTILINE))
    return {name: int(number) for name, number in numbers.items() if int(number) < 256}


def write(path: Path, table: dict[str, Any]) -> None:
    """Write JSON with one line for each entry of the second level: compact, and readable in a diff."""
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = []
    for name, value in table.items():
        if isinstance(value, dict) and value:
            entries = ",\n".join(f"  {dump(key)}: {dump(item)}" for key, item in value.items())
            parts.append(f" {dump(name)}: {{\n{entries}\n }}")
        else:
            parts.append(f" {dump(name)}: {dump(value)}")
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


def dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def main() -> None:
    symbols: set[str] = set()
    for name in NAMES:
        keymap = keymap_of(name)
        table = layout_table(keymap)
        symbols.update(*table["keys"].values())
        file = name.replace("(", "-").rstrip(")")
        write(SHIPPED / "layouts" / f"{file}.json", table)
        write(ORACLE / "layouts" / f"{file}.json", oracle_table(name))
    write(SHIPPED / "compose.json", compose_trie(symbols - {""}))
    if "--qemu" in sys.argv:
        write(ORACLE / "qemu.json", ask_qemu())
        write(ORACLE / "evdev.json", {"numbers": evdev_numbers()})


if __name__ == "__main__":
    main()
