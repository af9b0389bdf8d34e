"""What one task does at a time."""

from __future__ import annotations

import pytest
import trio

from atp_trio.conflict import ConflictDetector


@pytest.fixture
def turn():
    return ConflictDetector("somebody is at it")


def test_a_second_one_is_refused_and_the_first_goes_on(turn):
    with turn:
        for _ in range(2):
            with pytest.raises(trio.BusyResourceError, match="somebody is at it"), turn:
                pytest.fail("it was let in")


def test_the_next_one_is_let_in(turn):
    for _ in range(2):
        with turn:
            pass


def test_the_next_one_is_let_in_after_an_error(turn):
    error = ValueError()
    with pytest.raises(ValueError) as caught, turn:  # noqa: PT011 - looked at below
        raise error
    assert caught.value is error
    with turn:
        pass
