"""Every image compression of QEMU's own server, on pictures whose pixels are known, against QEMU's own screen.

The guest puts the pictures on its frame buffer, one a key, so that a test knows what the images that come are of. It looks at
their types: a picture that is right proves nothing about a codec that the server did not use.
"""

from __future__ import annotations

import attrs
import numpy as np
import pytest
import trio

from atp_trio.spice.connection import open_spice
from atp_trio.spice.messages.image import ImageCompression, ImageType
from atp_trio.testing.guest.image import Image
from atp_trio.testing.qemu import SpiceOptions

WITHIN = 60
ENOUGH = 35  # dB
WIDTH, HEIGHT, ROW = 1024, 768, 4096
DEVICES = {"qxl": "qxl-vga", "vga": f"VGA,xres={WIDTH},yres={HEIGHT}"}
# For each key, a picture and the row it begins at. The shell has the rows above, `LABELS` go from the last photo downwards.
STEPS = {
    "p": ("photo", 64),
    "f": ("flat", 208),
    "r": ("rectangles", 288),
    "n": ("noise", 368),
    "m": ("noise", 448),
    "q": ("photo", 528),
}
LABELS = "l"
LAST_LABEL = slice(688, 704)
SHOW = rf"""#!/bin/sh
put() {{ dd if=$1 of=/dev/fb0 bs=4M count=1 oflag=seek_bytes seek=$(($2 * {ROW})) 2>/dev/null; }}
printf '\033[2J\033[H'
dd if=/dev/zero of=/dev/fb0 bs={HEIGHT * ROW} count=1 2>/dev/null
while read -rsn1 key; do case $key in
{"".join(f"{key}) put /pictures/{name} {row};;" for key, (name, row) in STEPS.items())}
{LABELS}) for row in 35 38 41 44; do for column in 3 30 103; do
    printf "\033[$row;${{column}}H$row:$column"
    usleep 40000
done; done;;
esac; done
"""


def make_pictures():
    """Numbers `0x00RRGGBB` of WIDTH columns, by name."""
    dice = np.random.default_rng(7)
    down, across = np.indices((128, WIDTH))
    colours = np.stack([across / 5, 60 + down + 20 * np.sin(across / 40), 200 - (across + down) / 7], axis=-1)
    photo = np.clip(colours + dice.normal(0, 2.5, colours.shape), 0, 255).astype(np.uint32)
    rectangles = np.full((64, WIDTH), 0x204060, np.uint32)
    for x, y, width, height in dice.integers((0, 0, 3, 2), (WIDTH - 40, 48, 40, 16), (150, 4)):
        rectangles[y : y + height, x : x + width] = dice.integers(1 << 24)
    return {
        "photo": photo[..., 0] << 16 | photo[..., 1] << 8 | photo[..., 2],
        "flat": np.tile(np.repeat(dice.integers(1 << 24, size=8, dtype=np.uint32), WIDTH // 8), (64, 1)),
        "rectangles": rectangles,
        "noise": dice.integers(1 << 24, size=(64, WIDTH), dtype=np.uint32),
    }


PICTURES = make_pictures()


@attrs.frozen(kw_only=True)
class Case:
    """What the client asks for, and the image types that each step may come as; None leaves a step out."""

    ask: ImageCompression
    wan: bool = False
    photo: set[ImageType]
    flat: set[ImageType]
    rectangles: set[ImageType] | None
    noise: set[ImageType] | None
    noise_again: set[ImageType] | None

    @classmethod
    def all(cls, ask, kind):
        """Every picture as the same type."""
        return cls.mixed(ask, {kind}, {kind}, {kind})

    @classmethod
    def mixed(cls, ask, photo, flat, noise):
        """By what the picture is like."""
        return cls(ask=ask, photo=photo, flat=flat, rectangles=flat, noise=noise, noise_again=noise)

    @property
    def is_lossy(self):
        return ImageType.JPEG in self.photo

    def expected(self):
        """The types by key."""
        kinds = dict(zip(STEPS, (self.photo, self.flat, self.rectangles, self.noise, self.noise_again, self.photo), strict=True))
        return {key: kind for key, kind in kinds.items() if kind}

    def __str__(self):
        return ("wan-" if self.wan else "") + self.ask.name.lower()


RAW, QUIC, LZ, GLZ = {ImageType.BITMAP}, {ImageType.QUIC}, {ImageType.LZ_RGB}, {ImageType.GLZ_RGB}
LZ4, JPEG, ZLIB_GLZ = {ImageType.LZ4}, {ImageType.JPEG}, {ImageType.ZLIB_GLZ_RGB}
CASES = [
    Case.all(ImageCompression.OFF, ImageType.BITMAP),
    Case.all(ImageCompression.QUIC, ImageType.QUIC),
    Case.all(ImageCompression.LZ, ImageType.LZ_RGB),
    Case.all(ImageCompression.GLZ, ImageType.GLZ_RGB),
    Case.mixed(ImageCompression.AUTO_LZ, QUIC, LZ, LZ),
    Case.mixed(ImageCompression.AUTO_GLZ, QUIC, GLZ, GLZ),
    # What does not become smaller by it is sent as it is.
    Case.mixed(ImageCompression.LZ4, RAW | LZ4, LZ4, RAW),
    # JPEG is for pictures: it would lose too much of the others.
    Case(ask=ImageCompression.QUIC, wan=True, photo=JPEG, flat=JPEG, rectangles=None, noise=None, noise_again=None),
    # Noise does not become smaller, the same noise once more does; and what is tiny already does not.
    *(
        Case(
            ask=ask,
            wan=True,
            photo=photo,
            flat=GLZ | ZLIB_GLZ,
            rectangles=GLZ | ZLIB_GLZ,
            noise=GLZ,
            noise_again=GLZ | ZLIB_GLZ,
        )
        for ask, photo in ((ImageCompression.GLZ, GLZ | ZLIB_GLZ), (ImageCompression.AUTO_GLZ, JPEG))
    ),
]


def psnr(ours, theirs):
    """Decibels, over the three colours; infinite for pictures that are the same."""
    channels = [
        np.ascontiguousarray(each).view(np.uint8).reshape(*each.shape, 4)[..., :3].astype(float) for each in (ours, theirs)
    ]
    error = ((channels[0] - channels[1]) ** 2).mean()
    return 10 * np.log10(255**2 / error) if error else np.inf


async def agree(vm, machine, is_shown, enough):
    """Wait until QEMU's own screen shows what it should, and ours agrees with it twice in a row; gives ours."""
    good, agreement = 0, "no screenshot in time"
    with trio.move_on_after(WITHIN / 4):
        while True:
            theirs = await trio.to_thread.run_sync(machine.screendump)
            ours = (await vm.display.screenshot()).pixels
            agreement = psnr(ours, theirs)
            good = good + 1 if agreement >= enough and is_shown(theirs) else 0
            if good == 2:
                return ours
            if not good:
                with trio.move_on_after(0.1):
                    await vm.display.wait_damage()
    counted = vm.display.display_statistics()
    pytest.fail(
        f"agreement: {agreement} dB; not drawn: {counted.not_drawn}; failed: {counted.failed} {[*vm.display.screen.reasons]}"
    )


def is_drawn(key):
    """Whether QEMU's own screen shows the picture of this key."""
    name, row = STEPS[key]
    picture = PICTURES[name]
    return lambda theirs: np.array_equal(theirs[row : row + len(picture)], picture)


@pytest.fixture(scope="module")
def painter(guest, tmp_path_factory):
    """The guest, with the pictures and `show`: in another archive behind its own, as Linux unpacks both."""
    image = Image()
    image.file("usr/bin/show", SHOW.encode(), executable=True)
    for name, pixels in PICTURES.items():
        image.file(f"pictures/{name}", pixels.astype("<u4").tobytes())
    path = tmp_path_factory.mktemp("painter") / "initramfs.cpio"
    path.write_bytes(guest.initramfs.read_bytes() + image.archive())
    return attrs.evolve(guest, initramfs=path)


@pytest.fixture(scope="module")
def machine(qemu, painter, request):
    """A machine of a device, with or without the compressions that are for slow lines."""
    device, wan = request.param
    more = ("jpeg-wan-compression=always", "zlib-glz-wan-compression=always") if wan else ()
    with qemu(display=device, guest=painter, spice=SpiceOptions(more=more)) as running:
        running.wait_ready()
        yield running


@pytest.mark.parametrize(
    ("machine", "case"),
    [pytest.param((options, case.wan), case, id=f"{device}-{case}") for device, options in DEVICES.items() for case in CASES],
    indirect=["machine"],
    scope="module",
)
async def test_pictures(machine, case, note_images):
    enough = ENOUGH if case.is_lossy else np.inf
    with trio.fail_after(WITHIN):
        async with open_spice(machine.uri) as vm:
            await vm.display.wait_ready()
            await vm.display.set_preferred_compression(case.ask)
            await vm.inputs.press("ctrl+c")  # what the case before has left running
            await vm.inputs.type_text("show\n")
            await agree(vm, machine, lambda theirs: not theirs[64:].any(), enough)
            seen, came, sizes, agreements = note_images(vm.display), set(), {}, []
            for key, expected in case.expected().items():
                seen.clear()
                await vm.inputs.type_text(key)
                screen = await agree(vm, machine, is_drawn(key), enough)
                name, row = STEPS[key]
                agreements.append(psnr(screen[row : row + len(PICTURES[name])], PICTURES[name]))
                assert seen, STEPS[key]
                assert {one.type for one in seen} <= expected, STEPS[key]
                came |= {one.type for one in seen}
                sizes[key] = sum(one.size for one in seen)
            await vm.inputs.type_text(LABELS)
            await agree(vm, machine, lambda theirs: theirs[LAST_LABEL].any(), enough)
            counted = vm.display.display_statistics()
            assert (counted.not_drawn, counted.failed) == ({}, {}), [*vm.display.screen.reasons]
    assert came == set().union(*case.expected().values())
    assert min(agreements) >= enough
    # It was with loss, so JPEG was what we looked at, and not what may come after it.
    assert all(np.isinf(agreements)) != case.is_lossy
    if case.ask == ImageCompression.GLZ:
        # Images refer to those before them: nothing else makes noise smaller.
        assert 20 * sizes["m"] < sizes["n"]
