"""Pictures for the codecs' tests, and what happens to streams on the way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

VECTORS = Path(__file__).parents[3] / "data" / "vectors"


@st.composite
def pictures(draw: st.DrawFn, dtype: Any = np.uint32, max_width: int = 48, max_height: int = 8, top: int | None = None) -> Any:
    """(height, width) pixels of a few colours: rows of runs, repeated rows, and noise."""
    width, height = draw(st.integers(1, max_width)), draw(st.integers(1, max_height))
    top = np.iinfo(dtype).max if top is None else top
    colours = np.array(draw(st.lists(st.integers(0, top), min_size=1, max_size=6)), dtype)
    indices = np.frombuffer(draw(st.binary(min_size=width, max_size=width * height)), np.uint8)
    picture = colours[np.resize(indices, (height, width)) % len(colours)]
    if draw(st.booleans()):
        picture = np.sort(picture, axis=1)
    if draw(st.booleans()):
        noise = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 7, picture.shape).astype(dtype)
        picture = np.minimum(picture, dtype(top - 7)) + noise
    return np.ascontiguousarray(picture)


def damaged(streams: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Streams of which some bytes have changed, and maybe the end is missing."""

    def damage(stream: bytes, changes: list[tuple[int, int]], cut: int) -> bytes:
        changed = bytearray(stream)
        for at, value in changes:
            changed[at % len(changed)] = value
        return bytes(changed[: len(changed) - cut % len(changed)])

    changes = st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=4)
    return st.builds(damage, streams, changes, st.just(0) | st.integers(0, 1 << 16))


def strided(width: int, height: int, dtype: Any, fill: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """A view of that size with rows apart, upside down in memory, and the whole it is part of."""
    whole = np.full((height + 2, width + 3), fill, dtype)
    return whole[-2:0:-1, 1 : width + 1], whole


def assert_only_inside(whole: np.ndarray, fill: int = 7) -> None:
    """That what is around the view of `strided` is as it was."""
    assert (whole[0] == fill).all()
    assert (whole[-1] == fill).all()
    assert (whole[:, 0] == fill).all()
    assert (whole[:, -2:] == fill).all()


def outcome(function: Callable[[], np.ndarray], errors: type[Exception]) -> np.ndarray | None:
    """What it returns, or None for one of these errors."""
    try:
        return function()
    except errors:
        return None


def assert_same(left: np.ndarray | None, right: np.ndarray | None) -> None:
    """That both failed, or both gave the same pixels."""
    assert (left is None) == (right is None)
    if left is not None:
        np.testing.assert_array_equal(left, right)
