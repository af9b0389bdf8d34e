"""A guest in memory, and a protocol that is connected to it."""

from __future__ import annotations

import pytest

from atp_trio.protocols.qga import open_qga

from .fake_agent import FakeAgent, FakeDomain


@pytest.fixture
def agent():
    return FakeAgent()


@pytest.fixture
async def domain(agent):
    return FakeDomain(agent)


@pytest.fixture
async def qga(domain):
    async with open_qga(domain) as qga:
        yield qga
