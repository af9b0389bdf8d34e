"""The table of keys against QEMU's and Linux's own (tests/data/keyboard, made by tests/generate_keyboard_layouts.py --qemu)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from atp_trio.keyboard import Key

DATA = Path(__file__).parents[2] / "data" / "keyboard"


def load(name: str) -> Any:
    return json.loads((DATA / name).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def qemu() -> Any:
    return load("qemu.json")


def test_the_numbers_are_those_of_linux() -> None:
    numbers = load("evdev.json")["numbers"]
    assert {key.name: key.evdev for key in Key} == {key.name: numbers[key.name.removeprefix("KEY_")] for key in Key}


def test_qemu_takes_each_scancode_for_the_key_we_call_it(qemu: Any) -> None:
    def number_of(key: Key) -> int:
        code = key.scancode_down()
        return code if code < 0x80 else code >> 8 | 0x80

    ours = {key.qcode: qemu["numbers"].get(str(number_of(key))) for key in Key}
    assert ours == {qcode: qcode for qcode in ours}
    assert len(ours) == len(Key)


def test_qemu_has_every_name_we_give_it(qemu: Any) -> None:
    assert {key.qcode for key in Key} <= set(qemu["qcodes"])


@pytest.mark.parametrize(
    ("key", "down", "up"),
    [
        (Key.A, 0x1E, 0x9E),
        (Key.RIGHT, 0x4DE0, 0xCDE0),
        (Key.SYSRQ, 0x37E0, 0xB7E0),
        (Key.F12, 0x58, 0xD8),
        (Key.PAUSE, 0x46E0, 0xC6E0),
    ],
)
def test_spice_says_the_first_byte_least_significant(key: Key, down: int, up: int) -> None:
    assert (key.scancode_down(), key.scancode_up()) == (down, up)


@pytest.mark.parametrize("key", [key for key in Key if key is not Key.PAUSE])
def test_spice_says_what_a_keyboard_sends(key: Key) -> None:
    assert key.scancode_down().to_bytes(4, "little").rstrip(b"\0") == key.make_code
    assert key.scancode_up().to_bytes(4, "little").rstrip(b"\0") == key.break_code


def test_pause_is_the_sequence_of_six_bytes() -> None:
    assert Key.PAUSE.make_code + Key.PAUSE.break_code == bytes.fromhex("e11d45e19dc5")


@pytest.mark.parametrize("key", Key)
def test_a_key_goes_up_as_it_goes_down_with_bit_7_set(key: Key) -> None:
    assert key.break_code[-1] == key.make_code[-1] | 0x80
    assert not key.make_code[-1] & 0x80
    assert len(key.make_code) == len(key.break_code)
    assert key.break_code[:1] == key.make_code[:1] or len(key.make_code) == 1


def test_no_two_keys_share_a_code_or_a_name() -> None:
    for codes in ({key.evdev for key in Key}, {key.make_code for key in Key}, {key.qcode for key in Key}):
        assert len(codes) == len(Key)


def test_a_key_is_shown_by_its_name() -> None:
    assert repr((Key.LEFTCTRL, Key.KEY_1)) == "(Key.LEFTCTRL, Key.KEY_1)"
