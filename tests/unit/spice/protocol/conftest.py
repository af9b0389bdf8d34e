"""What the cores' tests share: one ticket key, for making one takes tens of milliseconds."""

import pytest

from atp_trio.spice.protocol.ticket import TicketKey


@pytest.fixture(scope="session")
def key():
    return TicketKey.generate()
