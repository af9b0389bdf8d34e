"""What a domain's screen shows, by libvirt: no SPICE needed.

Source:
    virDomainScreenshot: the picture comes through a stream, as PPM or PNG.
"""

from __future__ import annotations

import io
from typing import Any, Final

import numpy as np

from atp_trio.errors import HypervisorError, ImageError
from atp_trio.hypervisor.lane import Lane
from atp_trio.spice.imaging.screenshot import Screenshot

__all__ = ["decode_screenshot", "receive_screenshot"]

MAX_BYTES: Final = 8192 * 8192 * 3 + 1024
"""The largest picture taken: 8192 x 8192 pixels as PPM; QEMU's own limits are near."""
_CHUNK: Final = 262144  # libvirt sends at most so much at a time


def receive_screenshot(lane: Lane, uuid: str, screen: int) -> Screenshot:
    """Take a picture; inside of `lane.run` only."""
    assert lane.connection is not None
    assert lane.binding is not None
    stream: Any = lane.connection.newStream(0)
    try:
        lane.domain(uuid).screenshot(stream, screen, 0)
        data = _receive(stream)
        stream.finish()
    except BaseException:
        with lane.suppress_errors():
            stream.abort()
        raise
    return decode_screenshot(data)


def _receive(stream: Any) -> bytes:
    data = bytearray()
    while chunk := stream.recv(_CHUNK):
        data += chunk
        if len(data) > MAX_BYTES:
            raise HypervisorError(f"the screenshot is larger than {MAX_BYTES} bytes")
    return bytes(data)


def decode_screenshot(data: bytes) -> Screenshot:
    """A picture from a PPM or PNG file.

    Raises:
        ImageError: It is neither, is cut off, or is too large.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=("PPM", "PNG")) as image:
            if image.width * image.height * 3 > MAX_BYTES:
                raise ImageError(f"a screenshot of {image.width} x {image.height} pixels is too large")
            rgb = np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ImageError(f"the screenshot cannot be read: {error}") from error
    pixels = np.zeros((*rgb.shape[:2], 4), np.uint8)  # blue, green, red, nothing: a little-endian 0x00RRGGBB
    pixels[..., 2::-1] = rgb
    return Screenshot(pixels.view("<u4")[..., 0])
