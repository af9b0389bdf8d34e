"""A SPICE server inside your tests: no machine, no guest, and everything a client does can be looked at.

```python
async with open_spice_server(size=(640, 480), password="secret") as server:
    async with open_spice(server.uri, password="secret") as vm:
        await vm.inputs.press("ctrl+alt+f2")
    assert server.keys_down == ()
```

`run_server_in_thread` and `run_server_in_process` do the same for programs without Trio, and for measurements.
"""

from __future__ import annotations

from atp_trio.testing.server.background import ServerProcess, ServerThread, run_server_in_process, run_server_in_thread
from atp_trio.testing.server.channel import ClosedChannel
from atp_trio.testing.server.options import ServerOptions
from atp_trio.testing.server.scenes import SCENES
from atp_trio.testing.server.server import SpiceServer, open_spice_server

__all__ = [
    "SCENES",
    "ClosedChannel",
    "ServerOptions",
    "ServerProcess",
    "ServerThread",
    "SpiceServer",
    "open_spice_server",
    "run_server_in_process",
    "run_server_in_thread",
]
