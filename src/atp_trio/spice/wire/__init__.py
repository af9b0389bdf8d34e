"""How SPICE data lie in bytes, and the catalogue of everything SPICE says.

A message or a record is an attrs class whose fields are declared with the specifiers of `wire.field`; from that one declaration
come `decode`, `encode`, the log text and (in `atp_trio.testing.strategies`) the hypothesis strategy.
"""

from atp_trio.spice.wire.catalogue import Message, Record, Role, declared, message, record, table
from atp_trio.spice.wire.number import OpenEnum

__all__ = ["Message", "OpenEnum", "Record", "Role", "declared", "message", "record", "table"]
