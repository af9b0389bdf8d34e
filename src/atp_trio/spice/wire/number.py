"""Enumerations as SPICE uses them: open, because a newer peer may say a number we do not know."""

from __future__ import annotations

from enum import IntEnum
from typing import Self


class OpenEnum(IntEnum):
    """An enumeration that takes numbers it has no name for, as members called `UNKNOWN_n`.

    Flags are declared as enumerations of their single bits too, and a field of flags holds a plain int: `enum.IntFlag` keeps
    every combination it has ever seen, which a hostile peer could use to fill memory.
    """

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, int):
            return None
        unknown = int.__new__(cls, value)
        unknown._name_ = f"UNKNOWN_{value}"
        unknown._value_ = value
        return unknown

    @property
    def is_known(self) -> bool:
        """Whether the number has a name here."""
        return self._value_ in type(self)._value2member_map_


def flag_names(bits: type[OpenEnum], value: int) -> str:
    """The set bits of `value` by name, joined by `|`; what has no name stays a number."""
    named = [bit.name for bit in bits if bit and value & bit == bit]
    rest = value & ~sum(bit for bit in bits if bit and value & bit == bit)
    return "|".join([*named, *([hex(rest)] if rest else [])]) or "0"
