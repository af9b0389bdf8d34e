"""The receive buffer: what is there stays there, and the block grows and shrinks with what comes."""

import pytest

from atp_trio.spice.protocol.buffer import BLOCK, KEEP, PATIENCE, USUAL, ReceiveBuffer


def fill(buffer: ReceiveBuffer, data: bytes, needed: int = 0) -> None:
    space = buffer.free_space(needed)
    assert len(space) >= len(data)
    space[: len(data)] = data
    buffer.filled(len(data))


def held(buffer: ReceiveBuffer) -> bytes:
    return bytes(buffer.data[buffer.start : buffer.end])


def test_a_new_buffer_is_empty_and_one_block():
    buffer = ReceiveBuffer()
    assert len(buffer) == 0
    assert len(buffer.free_space()) == BLOCK


def test_what_is_received_follows_what_is_there():
    buffer = ReceiveBuffer()
    fill(buffer, b"abc")
    fill(buffer, b"def")
    assert held(buffer) == b"abcdef"
    assert len(buffer.free_space()) == BLOCK - 6


def test_an_empty_buffer_starts_at_the_front_again():
    buffer = ReceiveBuffer()
    fill(buffer, b"abc")
    buffer.start += 3
    assert len(buffer.free_space()) == BLOCK
    assert (buffer.start, buffer.end) == (0, 0)


@pytest.mark.parametrize("kept", [1, 1000, BLOCK // 2 + 1, BLOCK - 1])
def test_what_is_left_moves_to_the_front_of_a_full_block(kept):
    buffer = ReceiveBuffer()
    data = (bytes(range(251)) * (BLOCK // 251 + 1))[:BLOCK]
    fill(buffer, data)
    buffer.start = BLOCK - kept
    block = buffer.data
    assert len(buffer.free_space()) == BLOCK - kept
    assert buffer.data is block
    assert held(buffer) == data[-kept:]


def test_it_moves_ahead_of_a_message_that_would_not_fit_behind():
    buffer = ReceiveBuffer()
    fill(buffer, b"x" * 200_000)
    buffer.start = 199_990
    assert len(buffer.free_space(needed=100_000)) == BLOCK - 10
    assert buffer.start == 0


def test_it_stays_where_the_next_message_fits_behind():
    buffer = ReceiveBuffer()
    fill(buffer, b"x" * 1000)
    buffer.start = 990
    buffer.free_space(needed=BLOCK - 990)
    assert buffer.start == 990
    buffer.free_space(needed=BLOCK - 989)
    assert buffer.start == 0


def test_a_message_larger_than_the_block_gets_a_larger_one_and_keeps_what_came_of_it():
    buffer = ReceiveBuffer()
    fill(buffer, b"abcdef")
    buffer.start = 2
    assert len(buffer.free_space(needed=BLOCK + 1)) == 2 * BLOCK + 1 - 4
    assert held(buffer) == b"cdef"


def test_a_full_block_without_a_known_need_grows():
    buffer = ReceiveBuffer()
    fill(buffer, bytes(BLOCK))
    assert len(buffer.free_space()) == BLOCK + 1
    assert len(buffer) == BLOCK


def test_a_block_that_is_not_huge_is_kept():
    buffer = ReceiveBuffer()
    buffer.free_space(needed=KEEP - BLOCK)
    large = buffer.data
    assert len(large) == KEEP
    buffer.free_space()
    assert buffer.data is large


@pytest.mark.parametrize("left", [b"", b"the beginning of the next"])
def test_a_huge_block_is_given_back_also_when_the_next_message_has_begun(left):
    buffer = ReceiveBuffer()
    fill(buffer, b"x" * 100 + left, needed=KEEP + 1)
    assert len(buffer.data) > KEEP
    buffer.start += 100
    buffer.free_space(needed=50)
    assert len(buffer.data) == BLOCK
    assert held(buffer) == left


def test_views_of_a_block_that_was_replaced_stay_good():
    buffer = ReceiveBuffer()
    fill(buffer, b"abc")
    view = buffer.data[0:3]
    fill(buffer, b"xyz", needed=BLOCK + 1)
    assert view == b"abc"


def test_its_repr_does_not_show_what_was_received():
    buffer = ReceiveBuffer()
    fill(buffer, b"secret")
    assert "secret" not in repr(buffer)


def read_all(buffer: ReceiveBuffer) -> None:
    buffer.start = buffer.end
    buffer.drained()


def test_a_block_that_was_filled_far_is_given_back_when_little_comes_for_long():
    buffer = ReceiveBuffer()
    fill(buffer, b"x" * (USUAL + 1))
    block = buffer.data
    read_all(buffer)
    for _ in range(PATIENCE):
        assert buffer.data is block
        fill(buffer, b"x" * USUAL)
        read_all(buffer)
    assert buffer.data is not block
    assert (len(buffer.data), len(buffer)) == (BLOCK, 0)
    assert block[: USUAL + 1] == b"x" * (USUAL + 1)  # views of it stay good


def test_a_block_is_kept_while_much_comes_now_and_then_and_where_little_ever_came():
    for size in (USUAL + 1, USUAL):
        buffer = ReceiveBuffer()
        block = buffer.data
        for _ in range(3):
            fill(buffer, b"x" * size)
            read_all(buffer)
            for _ in range(PATIENCE - 1):
                fill(buffer, b"x")
                read_all(buffer)
        assert buffer.data is block


def test_a_block_is_given_back_when_asked_for_but_not_with_something_in_it():
    buffer = ReceiveBuffer()
    fill(buffer, b"x" * 200_000)
    block, buffer.start = buffer.data, 199_000
    buffer.give_back()
    buffer.drained()
    assert held(buffer) == b"x" * 1000
    assert buffer.data is block
    read_all(buffer)
    assert buffer.data is not block
