"""Reading text: once with the real reader, which takes seconds; choosing among lines without it."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from atp_trio.errors import ConfigError
from atp_trio.spice.imaging import ocr
from atp_trio.spice.imaging.ocr import TextLine, find_text, nearest_text, read_text
from atp_trio.spice.messages.geometry import Rect


def line(text, top=0):
    return TextLine(text, Rect.at(0, top, 10, 10), 1.0)


LINES = (line("Welcome toDebian"), line("debian login:", 20), line("Password:", 40))


def test_what_a_console_says():
    image = Image.new("L", (300, 60))
    ImageDraw.Draw(image).text((100, 20), "login: root", font=ImageFont.load_default(20), fill=200)
    grey = np.asarray(image).astype(np.uint32)
    (read,) = read_text(grey << 16 | grey << 8 | grey, x=1000, y=500)
    assert read.text.replace(" ", "") == "login:root"
    assert read.score > 0.5
    assert 1090 <= read.region.left <= 1110
    assert 1180 <= read.region.right <= 1220
    assert 510 <= read.region.top < read.region.bottom <= 555
    assert read_text(np.zeros((20, 20), np.uint32)) == ()


def test_without_the_extra_it_says_which(monkeypatch):
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    ocr._reader.cache_clear()
    with pytest.raises(ConfigError, match=r"pip install 'atp-trio\[ocr\]'"):
        read_text(np.zeros((20, 20), np.uint32))


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        ("Welcome to Debian", 0),
        ("debian login", 1),
        ("login:", 1),
        ("Login", None),
        (re.compile("^P.*:$"), 2),
        (re.compile("x"), None),
    ],
)
def test_finding_a_text_in_lines(wanted, index):
    assert find_text(LINES, wanted) is (None if index is None else LINES[index])


@pytest.mark.parametrize(
    ("wanted", "text", "region"),
    [
        ("to Debian\ndebian", "Welcome toDebian\ndebian login:", Rect.at(0, 0, 10, 30)),
        ("login:\nPassword:\n", "debian login:\nPassword:", Rect.at(0, 20, 10, 30)),
        ("an\ndebian login:\nPass", "Welcome toDebian\ndebian login:\nPassword:", Rect.at(0, 0, 10, 50)),
        ("Welcome\ndebian", None, None),
    ],
)
def test_finding_a_text_of_several_lines(wanted, text, region):
    found = find_text(LINES, wanted)
    assert found == (text and TextLine(text, region, 1.0))


def test_lines_are_in_reading_order():
    at = [(300, 8, "c"), (0, 12, "a"), (150, 10, "b"), (0, 26, "d"), (95, 29, "e")]
    lines = [TextLine(text, Rect.at(x, y, 80, 14), 1.0) for x, y, text in at]
    assert [one.text for one in ocr._in_reading_order(lines)] == ["a", "b", "c", "d", "e"]


def test_words_that_were_read_singly_are_a_line():
    words = [TextLine("in:", Rect.at(36, 9, 30, 12), 0.9), TextLine("log", Rect.at(0, 10, 30, 14), 0.8), line("next", 40)]
    assert list(ocr._in_reading_order(words)) == [TextLine("log in:", Rect(9, 0, 24, 66), 0.8), line("next", 40)]


def test_the_nearest_line():
    assert nearest_text(LINES, "Passw0rd") is LINES[2]
    assert nearest_text(LINES, re.compile("login: root")) is LINES[1]
    assert nearest_text((), "any") is None
    assert str(LINES[2]) == "'Password:' at 0,40"
