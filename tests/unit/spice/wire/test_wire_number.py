"""Enumerations that stay open."""

from __future__ import annotations

import pytest

from atp_trio.spice.wire import OpenEnum
from atp_trio.spice.wire.number import flag_names


class Letter(OpenEnum):
    ZERO = 0
    A = 1
    B = 2
    C = 4


def test_known_members_are_the_enumerations_own() -> None:
    assert Letter(1) is Letter.A
    assert Letter.A.is_known
    assert [*Letter] == [Letter.ZERO, Letter.A, Letter.B, Letter.C]


def test_unknown_numbers_become_members_that_are_not_kept() -> None:
    unknown = Letter(77)
    assert (unknown, unknown.value, unknown.name) == (77, 77, "UNKNOWN_77")
    assert not unknown.is_known
    assert isinstance(unknown, Letter)
    assert len(Letter) == 4
    assert hash(unknown) == hash(77)


def test_what_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="'x'"):
        Letter("x")


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (1, "A"), (5, "A|C"), (8, "0x8"), (0x13, "A|B|0x10"), (7, "A|B|C")])
def test_flags_are_shown_by_name(value: int, text: str) -> None:
    assert flag_names(Letter, value) == text
