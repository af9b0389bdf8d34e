"""Host-subject: a certificate's subject instead of its host name, as in `C=IL, O=Red Hat, CN=my server`.

Source:
    Protocol reference, 1.12 (TLS, host-subject grammar).
"""

from __future__ import annotations

import re
from typing import Any, Final

from atp_trio.errors import ConfigError

__all__ = ["Subject", "format_subject", "parse_host_subject", "peer_subject", "subjects_match"]

Subject = tuple[tuple[str, str], ...]
"""The entries of a name, in order: long name of the attribute (`commonName`) and value."""

_ENTRY: Final = re.compile(r" *([^ =,\\][^=,\\]*)=((?:[^\\,]|\\[\\,])+)(,|$)")

# The short names that host-subjects are written with; `ssl` gives a certificate's attributes by their long ones.
_LONG_NAMES: Final = {
    "C": "countryName",
    "ST": "stateOrProvinceName",
    "L": "localityName",
    "street": "streetAddress",
    "O": "organizationName",
    "OU": "organizationalUnitName",
    "CN": "commonName",
    "SN": "surname",
    "GN": "givenName",
    "DC": "domainComponent",
    "UID": "userId",
}
_SHORT_NAMES: Final = {long: short for short, long in _LONG_NAMES.items()}


def parse_host_subject(text: str) -> Subject:
    r"""The entries of `KEY=VALUE,KEY=VALUE,...`; a backslash and a comma in a value are written `\\` and `\,`.

    Raises:
        ConfigError: Anything else.
    """
    entries = []
    at = 0
    more = True
    while more:
        entry = _ENTRY.match(text, at)
        if entry is None:
            raise ConfigError(rf"host-subject {text!r}: KEY=VALUE expected at character {at + 1} (escapes are \\ and \,)")
        key, value, comma = entry.groups()
        entries.append((_LONG_NAMES.get(key, key), re.sub(r"\\(.)", r"\1", value)))
        at, more = entry.end(), bool(comma)
    return tuple(entries)


def peer_subject(certificate: dict[str, Any] | None) -> Subject:
    """The subject in what `ssl.SSLObject.getpeercert` returns."""
    relative_names = (certificate or {}).get("subject", ())
    return tuple((key, value) for relative_name in relative_names for key, value in relative_name)


def subjects_match(wanted: Subject, actual: Subject) -> bool:
    """Whether both have the same entries in the same order; letter case and runs of blanks in values do not matter (X.509)."""
    return [(key, _canonical(value)) for key, value in wanted] == [(key, _canonical(value)) for key, value in actual]


def format_subject(subject: Subject) -> str:
    """The subject in the host-subject grammar."""
    return ",".join(_SHORT_NAMES.get(key, key) + "=" + re.sub(r"[\\,]", r"\\\g<0>", value) for key, value in subject)


def _canonical(value: str) -> bytes:
    # As bytes: these methods fold ASCII and leave everything else alone, which is what OpenSSL does.
    return b" ".join(value.encode("utf-8", "surrogatepass").lower().split())
