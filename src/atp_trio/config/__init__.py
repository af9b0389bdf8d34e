"""The configuration: YAML and the environment onto attrs classes, every mistake told at once with its place.

```python
config = load_config("atp.yaml")
```
"""

from __future__ import annotations

from atp_trio.config.load import Loaded, load_config, read_config
from atp_trio.config.mistake import ConfigMistakes, Mistake, Place
from atp_trio.config.model import HostConfig, SpiceConfig, SpiceVmConfig, TransportConfig
from atp_trio.config.schema import json_schema
from atp_trio.config.secret import Secret

__all__ = [
    "ConfigMistakes",
    "HostConfig",
    "Loaded",
    "Mistake",
    "Place",
    "Secret",
    "SpiceConfig",
    "SpiceVmConfig",
    "TransportConfig",
    "json_schema",
    "load_config",
    "read_config",
]
