"""The pytest plugin: the fixture `spice_server`, a running SPICE server for one test.

It is a plain fixture, and the server runs in a thread with a Trio of its own: so tests of any kind can use it, with pytest-trio,
with asyncio or without either, and a mock clock of the test does not touch it. A marker sets its options:

```python
@pytest.mark.spice_server(size=(640, 480), password="secret")
def test_login(spice_server):
    my_program.log_in(spice_server.uri, password="secret")
    spice_server.wait_until(lambda: len(spice_server.server.events) == 10)
    assert spice_server.server.keys_down == ()
```

A test in Trio may as well open one of its own: `async with open_spice_server() as server`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from atp_trio.testing.server import ServerThread


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", "spice_server(**options): the options of the fixture `spice_server`")


@pytest.fixture
def spice_server(request: pytest.FixtureRequest) -> Iterator[ServerThread]:
    """A running SPICE server; the marker `spice_server` sets the options of `open_spice_server`."""
    from atp_trio.testing.server import run_server_in_thread

    # The nearest marker wins, option by option.
    options = {
        name: value
        for marker in reversed(list(request.node.iter_markers("spice_server")))
        for name, value in marker.kwargs.items()
    }
    with run_server_in_thread(**options) as server:
        yield server
