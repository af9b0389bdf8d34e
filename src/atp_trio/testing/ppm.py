"""Pictures as QEMU's monitor writes them: PPM."""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

from atp_trio.errors import HypervisorError


def parse_ppm(data: bytes) -> npt.NDArray[np.uint32]:
    """The pixels of a binary PPM image of 8 bits a colour.

    Returns:
        Height x width, rows top-down; each pixel 0x00RRGGBB.

    Raises:
        HypervisorError: It is none, or not whole.
    """
    header = re.match(rb"P6\s+(\d{1,5})\s+(\d{1,5})\s+255\s", data)
    if not header or len(data) - header.end() != int(header[1]) * int(header[2]) * 3:
        raise HypervisorError("QEMU's screendump is no whole PPM image of 8 bits a colour")
    width, height = int(header[1]), int(header[2])
    pixels = np.zeros((height, width, 4), np.uint8)  # blue, green, red, nothing: a little-endian 0x00RRGGBB
    pixels[..., 2::-1] = np.frombuffer(data, np.uint8, offset=header.end()).reshape(height, width, 3)
    packed: npt.NDArray[np.uint32] = pixels.view("<u4")[..., 0]
    return packed
