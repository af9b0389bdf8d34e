"""What a server may make a client hold: as much as the limits say."""

import pytest

from atp_trio import ConfigError, ConnectionLost, SpiceLimits
from atp_trio.spice.messages import display
from atp_trio.spice.messages.link import ChannelType


@pytest.mark.parametrize(
    "wrong", [{"message_bytes": 10}, {"surface_pixels": 0}, {"image_cache_pixels": -1}, {"glz_window_pixels": 2**25 + 1}]
)
def test_limits_that_cannot_be_meant(wrong):
    (name,) = wrong
    with pytest.raises(ConfigError, match=name):
        SpiceLimits(**wrong)


async def test_the_server_is_told_the_sizes_of_cache_and_window(connected):
    limits = SpiceLimits(image_cache_pixels=1000, glz_window_pixels=2000)
    async with connected(client={"limits": limits}) as pair:
        await pair.vm.display.wait_ready()
        assert pair.vm.display.session.images.budget == 1000
        assert pair.vm.display.session.glz.max_pixels == 2000


async def test_a_surface_over_the_limit_is_not_made_and_counted(connected):
    async with connected(client={"limits": SpiceLimits(surface_pixels=64 * 48)}) as pair:
        await pair.vm.display.wait_ready()
        create = display.SurfaceCreate(surface_id=5, width=10, height=10, format=display.SurfaceFormat.FMT_32_xRGB, flags=0)
        pair.server.send(create, ChannelType.DISPLAY)
        pair.server.send(display.MonitorsConfig(max_allowed=1, heads=()), ChannelType.DISPLAY)
        while not pair.vm.display.display_statistics().failed:
            await pair.vm.display.session.wait_until(lambda: bool(pair.vm.display.screen.failed))
        assert pair.vm.display.display_statistics().failed == {"SurfaceCreate": 1}
        assert pair.vm.display.screen.surfaces.get(5) is None


async def test_a_message_over_the_limit_ends_the_channel(connected):
    limits = SpiceLimits(message_bytes=2**16)
    async with connected(client={"limits": limits}, size=(64, 48)) as pair:
        screen = pair.vm.display
        await screen.wait_ready()
        await pair.vm.display.wait_ready()
        big = display.QualityIndicator(data=bytes(2**16 + 1))
        pair.server.send(big, ChannelType.DISPLAY)
        await screen.wait_closed()
        assert isinstance(screen.closed_by, ConnectionLost)
        assert "announces a body of 65537 bytes" in str(screen.closed_by)
        assert pair.vm.main.is_open
