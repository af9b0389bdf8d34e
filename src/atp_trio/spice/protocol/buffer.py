"""The receive buffer of a channel: one block of memory that is received into, searched for messages, and used again.

Goal: a byte is copied by the kernel into this block and from then on only read; what moves is the beginning of a message whose
end has not come, when the block is full or the message larger than what is left. So every byte moves at most once for each block
that is filled, however small the pieces are in which it came.

Blocks are anonymous maps of memory: pages that were never received into cost nothing. That holds for the block of a channel that
says little, and for the large block of a message that was announced and never sent. A block that had to grow for one large
message is given back after it; and one that was filled far, once only little comes, as its pages would be held for nothing.
"""

from __future__ import annotations

import mmap
from typing import Final

import attrs

from atp_trio.spice.codec.framing import FrameTable

# Measured: receiving in pieces of 16 KiB gives 593 MB/s, of 256 KiB 2006 MB/s, and no more beyond.
BLOCK: Final = 256 * 1024
# A full-screen picture stays below this; a block beyond it is not kept for the next message.
KEEP: Final = 16 * 1024 * 1024
# What is filled beyond this is given back when so many times in a row less came, or at once if told so.
USUAL: Final = 32 * 1024
PATIENCE: Final = 16


def _new_block(size: int) -> memoryview:
    return memoryview(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))


@attrs.define(eq=False)
class ReceiveBuffer:
    """Memory with a filled part `data[start:end]`.

    Attributes:
        data: The block. It is replaced, never resized, so views of an older one stay good.
        start: Where the first byte lies that no message has been made of.
        end: Where the free space begins.
    """

    data: memoryview = attrs.field(factory=lambda: _new_block(BLOCK), repr=False)
    start: int = 0
    end: int = 0
    _patience: int | None = None  # how often less may still come until a block that was filled far is given back

    def __len__(self) -> int:
        return self.end - self.start

    def free_space(self, needed: int = 0) -> memoryview:
        """Room to receive into, at the end of what is there; never empty.

        Args:
            needed: Bytes from `start` on that the next message takes, as far as known.
        """
        kept = len(self)
        needed = max(needed, kept + 1)
        if needed > len(self.data) or (len(self.data) > KEEP and needed <= BLOCK):
            # What follows a large message is received with it, so that many of them are not each received in two calls.
            self._move(_new_block(BLOCK if needed <= BLOCK else needed + BLOCK))
        elif not kept or self.start + needed > len(self.data):
            self._move(self.data)
        return self.data[self.end :]

    def give_back(self) -> None:
        """What comes next is little: give back the pages that were filled, as soon as all in them was read."""
        self._patience = 0

    def drained(self) -> None:
        """Every message that is there was read; a block that is larger than needed for long enough is given back."""
        if self:
            return
        if self._patience and self.end <= USUAL:
            self._patience -= 1
        elif self._patience != 0 and self.end > USUAL:
            self._patience = PATIENCE
        if self._patience == 0:
            self.data, self.start, self.end, self._patience = _new_block(BLOCK), 0, 0, None

    def _move(self, block: memoryview) -> None:
        """Move what is there to the front of `block`, which may be the same one."""
        kept = len(self)
        block[:kept] = self.data[self.start : self.end]
        self.data, self.start, self.end = block, 0, kept

    def filled(self, count: int) -> None:
        """So many bytes were received into the free space."""
        self.end += count


@attrs.frozen(eq=False)
class FoundMessages:
    """Messages of the wire as they lie in the receive buffer, for those who handle them there.

    Attributes:
        table: Where they lie.
        row: That of the next message; neither it nor any behind it has been taken.
        buffer: The receive buffer.
    """

    table: FrameTable
    row: int
    buffer: memoryview = attrs.field(repr=False)

    def __len__(self) -> int:
        return len(self.table) - self.row
