import numpy as np
import pytest

from atp_trio.spice.imaging import rop
from atp_trio.spice.messages.display import Ropd

# Every combination of bits: pattern, source, destination.
P, S, D = (np.array([value >> bit & 1 for value in range(8)], np.uint8) * np.uint8(255) for bit in (2, 1, 0))


@pytest.mark.parametrize("code", range(16))
def test_binary_truth_tables(code):
    expected = np.array([255 * (code >> (2 * (s & 1) + (d & 1)) & 1) for s, d in zip(S, D, strict=True)])
    assert (rop.BINARY[code](S, D) == expected).all()


@pytest.mark.parametrize("code", range(256))
def test_ternary_truth_tables(code):
    expected = np.array([255 * (code >> value & 1) for value in range(8)])
    assert (rop.ternary(code, P, S, D) == expected).all()


def test_scalars_are_operands():
    dest = np.array([0x1234, 0xFFFF], np.uint16)
    assert rop.ternary(0x96, np.uint16(0xFF), np.uint16(0xF), dest).tolist() == [0x1234 ^ 0xF0, 0xFFFF ^ 0xF0]
    assert rop.BINARY[3](np.uint16(1), dest) == 0xFFFE


def by_the_book(descriptor, s, d, invert_s, invert_d):
    """The reference's rule, on single bits."""
    raw_d = d
    s ^= bool(descriptor & invert_s)
    d ^= bool(descriptor & invert_d)
    for bit, result in ((8, s), (16, s | d), (32, s & d), (64, s ^ d)):
        if descriptor & bit:
            return result ^ bool(descriptor & 1024)
    for bit, result in ((128, 0), (256, 1), (512, 1 - raw_d)):
        if descriptor & bit:
            return result
    raise AssertionError(descriptor)


@pytest.mark.parametrize(
    ("invert_s", "invert_d"),
    [(Ropd.INVERS_BRUSH, Ropd.INVERS_DEST), (Ropd.INVERS_SRC, Ropd.INVERS_DEST), (Ropd.INVERS_BRUSH, Ropd.INVERS_SRC)],
)
def test_descriptors(invert_s, invert_d):
    for descriptor in range(8, 2048):
        if not descriptor & 0x3F8:
            continue  # no operation at all: see below
        code = rop.binary(descriptor, invert_s, invert_d)
        for s in (0, 1):
            for d in (0, 1):
                expected = by_the_book(descriptor, s, d, invert_s, invert_d)
                assert code >> (2 * s + d) & 1 == expected, descriptor


@pytest.mark.parametrize("descriptor", [0, 1, 2, 4, 7, 1024])
def test_no_operation_is_a_copy_without_inversion(descriptor):
    assert rop.binary(descriptor, Ropd.INVERS_SRC) == rop.COPY
