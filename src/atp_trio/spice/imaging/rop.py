"""Raster operations: how a drawing message combines bits.

A binary operation is a number from 0 to 15, bit `2*s + d` of which is the result for the bits s and d; a ternary one a number
from 0 to 255, bit `4*p + 2*s + d` of which is the result. Operands are whole raw pixels: arrays of one unsigned type, or
scalars of it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy.typing as npt

from atp_trio.spice.messages.display import Ropd

Pixels = npt.NDArray[Any]

# The operands' truth tables, bit 2*s + d: the descriptor's arithmetic done on them gives the operation's number.
S, D, ALL = 0b1100, 0b1010, 0b1111
COPY = S

BINARY: tuple[Callable[[Any, Any], Any], ...] = (
    lambda _, d: d ^ d,
    lambda s, d: ~(s | d),
    lambda s, d: ~s & d,
    lambda s, _: ~s,
    lambda s, d: s & ~d,
    lambda _, d: ~d,
    lambda s, d: s ^ d,
    lambda s, d: ~(s & d),
    lambda s, d: s & d,
    lambda s, d: ~(s ^ d),
    lambda _, d: d,
    lambda s, d: ~s | d,
    lambda s, _: s,
    lambda s, d: s | ~d,
    lambda s, d: s | d,
    lambda _, d: ~(d ^ d),
)


@lru_cache(maxsize=256)
def binary(descriptor: int, invert_s: Ropd, invert_d: Ropd = Ropd.INVERS_DEST) -> int:
    """The operation that a rop descriptor means.

    Args:
        descriptor: The message's `rop`.
        invert_s: Its bit that inverts the operand S: INVERS_BRUSH or INVERS_SRC, as the message has it.
        invert_d: Its bit that inverts the operand D.
    """
    s = S ^ ALL if descriptor & invert_s else S
    d = D ^ ALL if descriptor & invert_d else D
    for bit, result in (
        (Ropd.OP_PUT, s),
        (Ropd.OP_OR, s | d),
        (Ropd.OP_AND, s & d),
        (Ropd.OP_XOR, s ^ d),
    ):
        if descriptor & bit:
            return result ^ ALL if descriptor & Ropd.INVERS_RES else result
    for bit, result in ((Ropd.OP_BLACKNESS, 0), (Ropd.OP_WHITENESS, ALL), (Ropd.OP_INVERS, D ^ ALL)):
        if descriptor & bit:
            return result
    return S


def ternary(code: int, pattern: Any, source: Any, dest: Pixels) -> Pixels:
    """ROP3: `code` picks, where the pattern's bit is 1 and where it is 0, a binary operation of source and destination."""
    ones, zeros = BINARY[code >> 4], BINARY[code & 15]
    if ones is zeros:
        same: Pixels = ones(source, dest)
        return same
    mixed: Pixels = (pattern & ones(source, dest)) | (~pattern & zeros(source, dest))
    return mixed
