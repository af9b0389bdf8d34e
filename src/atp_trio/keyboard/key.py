"""The keys of a PC keyboard: what evdev, the PS/2 keyboard (scancode set 1) and QEMU's QMP call each of them.

Only keys that QEMU knows by all three are here. A key is a place on the keyboard, not a character: what it types is the business
of the guest's layout, `atp_trio.keyboard.Layout`.
"""

from __future__ import annotations

import enum

_SPICE_PAUSE = b"\xe0\x46"
_BREAK = 0x80  # set 1: the last byte of a make code with bit 7 set is the break code


class Key(enum.Enum):
    """A physical key, named as in Linux's evdev without the prefix `KEY_`, which only digits and `KEY_102ND` keep.

    SPICE says keys as PC scancodes of set 1, and so does the table: two digits for a plain key, `0xE0..` for an extended one.

    Source: evdev's numbers are Linux's `input-event-codes.h`, the names of QMP are `QKeyCode` of QEMU's `qapi/ui.json`.
    """

    evdev: int
    """Linux's number of the key. xkb's keycode is 8 more."""
    make_code: bytes
    """What a keyboard sends when the key goes down, without the fake shifts that surround Print Screen: `e0 37`."""
    break_code: bytes
    """What a keyboard sends when the key goes up. Pause's follows its make code at once."""
    qcode: str
    """The name of the key in QMP's `send-key` and `input-send-event`."""

    def __init__(self, evdev: int, make_code: int, qcode: str) -> None:
        make = make_code.to_bytes((make_code.bit_length() + 7) // 8, "big")
        self.evdev = evdev
        self.make_code = make
        self.break_code = make[:-1] + bytes([make[-1] | _BREAK])
        if make[0] == 0xE1:  # Pause alone: its Ctrl-like second byte is released too
            self.break_code = bytes([0xE1, make[1] | _BREAK, make[2] | _BREAK])
        self.qcode = qcode

    def scancode_down(self) -> int:
        """Give the key as SPICE's KEY_DOWN carries it: the make code, first byte least significant.

        Pause goes as `e0 46`, which on a keyboard is Pause with Ctrl. QEMU takes either for Pause and lets the guest's keyboard
        make of it what it should, but of the true sequence of six bytes it makes a press that is never released (7.2 does).
        """
        return int.from_bytes(_SPICE_PAUSE if self is Key.PAUSE else self.make_code, "little")

    def scancode_up(self) -> int:
        """Give the key as SPICE's KEY_UP carries it: the break code, first byte least significant."""
        return self.scancode_down() | (_BREAK << 8 if self.make_code[0] >= 0xE0 else _BREAK)

    def __repr__(self) -> str:
        return f"Key.{self.name}"

    ESC = 1, 0x01, "esc"
    KEY_1 = 2, 0x02, "1"
    KEY_2 = 3, 0x03, "2"
    KEY_3 = 4, 0x04, "3"
    KEY_4 = 5, 0x05, "4"
    KEY_5 = 6, 0x06, "5"
    KEY_6 = 7, 0x07, "6"
    KEY_7 = 8, 0x08, "7"
    KEY_8 = 9, 0x09, "8"
    KEY_9 = 10, 0x0A, "9"
    KEY_0 = 11, 0x0B, "0"
    MINUS = 12, 0x0C, "minus"
    EQUAL = 13, 0x0D, "equal"
    BACKSPACE = 14, 0x0E, "backspace"
    TAB = 15, 0x0F, "tab"
    Q = 16, 0x10, "q"
    W = 17, 0x11, "w"
    E = 18, 0x12, "e"
    R = 19, 0x13, "r"
    T = 20, 0x14, "t"
    Y = 21, 0x15, "y"
    U = 22, 0x16, "u"
    I = 23, 0x17, "i"  # noqa: E741  evdev's name
    O = 24, 0x18, "o"  # noqa: E741  evdev's name
    P = 25, 0x19, "p"
    LEFTBRACE = 26, 0x1A, "bracket_left"
    RIGHTBRACE = 27, 0x1B, "bracket_right"
    ENTER = 28, 0x1C, "ret"
    LEFTCTRL = 29, 0x1D, "ctrl"
    A = 30, 0x1E, "a"
    S = 31, 0x1F, "s"
    D = 32, 0x20, "d"
    F = 33, 0x21, "f"
    G = 34, 0x22, "g"
    H = 35, 0x23, "h"
    J = 36, 0x24, "j"
    K = 37, 0x25, "k"
    L = 38, 0x26, "l"
    SEMICOLON = 39, 0x27, "semicolon"
    APOSTROPHE = 40, 0x28, "apostrophe"
    GRAVE = 41, 0x29, "grave_accent"
    LEFTSHIFT = 42, 0x2A, "shift"
    BACKSLASH = 43, 0x2B, "backslash"
    Z = 44, 0x2C, "z"
    X = 45, 0x2D, "x"
    C = 46, 0x2E, "c"
    V = 47, 0x2F, "v"
    B = 48, 0x30, "b"
    N = 49, 0x31, "n"
    M = 50, 0x32, "m"
    COMMA = 51, 0x33, "comma"
    DOT = 52, 0x34, "dot"
    SLASH = 53, 0x35, "slash"
    RIGHTSHIFT = 54, 0x36, "shift_r"
    KPASTERISK = 55, 0x37, "kp_multiply"
    LEFTALT = 56, 0x38, "alt"
    SPACE = 57, 0x39, "spc"
    CAPSLOCK = 58, 0x3A, "caps_lock"
    F1 = 59, 0x3B, "f1"
    F2 = 60, 0x3C, "f2"
    F3 = 61, 0x3D, "f3"
    F4 = 62, 0x3E, "f4"
    F5 = 63, 0x3F, "f5"
    F6 = 64, 0x40, "f6"
    F7 = 65, 0x41, "f7"
    F8 = 66, 0x42, "f8"
    F9 = 67, 0x43, "f9"
    F10 = 68, 0x44, "f10"
    NUMLOCK = 69, 0x45, "num_lock"
    SCROLLLOCK = 70, 0x46, "scroll_lock"
    KP7 = 71, 0x47, "kp_7"
    KP8 = 72, 0x48, "kp_8"
    KP9 = 73, 0x49, "kp_9"
    KPMINUS = 74, 0x4A, "kp_subtract"
    KP4 = 75, 0x4B, "kp_4"
    KP5 = 76, 0x4C, "kp_5"
    KP6 = 77, 0x4D, "kp_6"
    KPPLUS = 78, 0x4E, "kp_add"
    KP1 = 79, 0x4F, "kp_1"
    KP2 = 80, 0x50, "kp_2"
    KP3 = 81, 0x51, "kp_3"
    KP0 = 82, 0x52, "kp_0"
    KPDOT = 83, 0x53, "kp_decimal"
    KEY_102ND = 86, 0x56, "less"
    F11 = 87, 0x57, "f11"
    F12 = 88, 0x58, "f12"
    RO = 89, 0x73, "ro"
    HENKAN = 92, 0x79, "henkan"
    KATAKANAHIRAGANA = 93, 0x70, "katakanahiragana"
    MUHENKAN = 94, 0x7B, "muhenkan"
    KPENTER = 96, 0xE01C, "kp_enter"
    RIGHTCTRL = 97, 0xE01D, "ctrl_r"
    KPSLASH = 98, 0xE035, "kp_divide"
    SYSRQ = 99, 0xE037, "print"
    RIGHTALT = 100, 0xE038, "alt_r"
    HOME = 102, 0xE047, "home"
    UP = 103, 0xE048, "up"
    PAGEUP = 104, 0xE049, "pgup"
    LEFT = 105, 0xE04B, "left"
    RIGHT = 106, 0xE04D, "right"
    END = 107, 0xE04F, "end"
    DOWN = 108, 0xE050, "down"
    PAGEDOWN = 109, 0xE051, "pgdn"
    INSERT = 110, 0xE052, "insert"
    DELETE = 111, 0xE053, "delete"
    MUTE = 113, 0xE020, "audiomute"
    VOLUMEDOWN = 114, 0xE02E, "volumedown"
    VOLUMEUP = 115, 0xE030, "volumeup"
    POWER = 116, 0xE05E, "power"
    KPEQUAL = 117, 0x59, "kp_equals"
    PAUSE = 119, 0xE11D45, "pause"
    KPCOMMA = 121, 0x7E, "kp_comma"
    HANGEUL = 122, 0x72, "lang1"
    HANJA = 123, 0x71, "lang2"
    YEN = 124, 0x7D, "yen"
    LEFTMETA = 125, 0xE05B, "meta_l"
    RIGHTMETA = 126, 0xE05C, "meta_r"
    COMPOSE = 127, 0xE05D, "compose"
    CALC = 140, 0xE021, "calculator"
    SLEEP = 142, 0xE05F, "sleep"
    WAKEUP = 143, 0xE063, "wake"
    MAIL = 155, 0xE06C, "mail"
    BOOKMARKS = 156, 0xE066, "ac_bookmarks"
    COMPUTER = 157, 0xE06B, "computer"
    BACK = 158, 0xE06A, "ac_back"
    FORWARD = 159, 0xE069, "ac_forward"
    NEXTSONG = 163, 0xE019, "audionext"
    PLAYPAUSE = 164, 0xE022, "audioplay"
    PREVIOUSSONG = 165, 0xE010, "audioprev"
    STOPCD = 166, 0xE024, "audiostop"
    HOMEPAGE = 172, 0xE032, "ac_home"
    REFRESH = 173, 0xE067, "ac_refresh"
