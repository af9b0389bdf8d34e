"""Faults on demand: a proxy in this process, without privileges, that does to connections what networks do.

Delay, jitter, rate, single bytes; stalls, resets, half-open connections, black holes, garbage; ACKs withheld; for all
connections, or for one SPICE channel's, at once or by a script.

```python
async with open_fault_proxy(server.uri, link="delay=40ms rate=10mbit") as proxy, open_spice(proxy.uri) as vm:
    proxy.cut("display")
```
"""

from __future__ import annotations

from atp_trio.testing.faults.conditions import LinkConditions, parse_link
from atp_trio.testing.faults.connection import ProxiedConnection
from atp_trio.testing.faults.process import run_fault_proxy_in_process
from atp_trio.testing.faults.proxy import FaultProxy, open_fault_proxy
from atp_trio.testing.faults.script import Action, Step, parse_script
from atp_trio.testing.faults.treatment import Direction

__all__ = [
    "Action",
    "Direction",
    "FaultProxy",
    "LinkConditions",
    "ProxiedConnection",
    "Step",
    "open_fault_proxy",
    "parse_link",
    "parse_script",
    "run_fault_proxy_in_process",
]
