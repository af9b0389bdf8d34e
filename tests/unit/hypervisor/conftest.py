"""What the tests of libvirt mode share: a libvirt-python without libvirt."""

from __future__ import annotations

import pytest
import trio

from .fake_libvirt import FakeLibvirt


@pytest.fixture
def libvirt():
    """A `libvirt` module."""
    return FakeLibvirt()


@pytest.fixture
def wait_until():
    """Wait for what a thread brings about."""

    async def wait(condition):
        with trio.fail_after(5):
            while not condition():  # noqa: ASYNC110 - threads set no events of Trio's
                await trio.sleep(0.001)

    return wait
