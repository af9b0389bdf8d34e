import io

import numpy as np
import pytest
from PIL import Image

from atp_trio.errors import ImageError
from atp_trio.hypervisor import screenshot
from atp_trio.hypervisor.host import open_host
from atp_trio.hypervisor.screenshot import decode_screenshot

PPM = b"P6\n2 1\n255\n\x01\x02\x03\xff\x00\x80"


def png():
    file = io.BytesIO()
    Image.frombytes("RGB", (2, 1), PPM[-6:]).save(file, format="PNG")
    return file.getvalue()


@pytest.mark.parametrize("data", [PPM, png()], ids=["ppm", "png"])
def test_pixels(data):
    picture = decode_screenshot(data)
    assert picture.pixels.dtype == np.uint32
    assert picture.pixels.tolist() == [[0x010203, 0xFF0080]]


@pytest.mark.parametrize("data", [b"", b"GIF89a", PPM[:-1], png()[:-30], b"P6\n100000 100000\n255\n", b"P6\nx"])
def test_what_is_no_picture(data):
    with pytest.raises(ImageError):
        decode_screenshot(data)


def test_too_large(monkeypatch):
    monkeypatch.setattr(screenshot, "MAX_BYTES", 5)
    with pytest.raises(ImageError, match="2 x 1"):
        decode_screenshot(PPM)


async def test_through_libvirts_test_driver():
    async with open_host("test:///default") as host:
        picture = await (await host.domain("test")).screenshot()
        assert picture.pixels.any()
        assert await host.call(lambda connection: connection.isAlive()) == 1
