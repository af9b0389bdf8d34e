"""Which host, and how it is reached."""

from __future__ import annotations

import attrs

from atp_trio.hypervisor.credentials import Credentials
from atp_trio.hypervisor.uri import HostUri

__all__ = ["HostInfo"]


def _to_uri(uri: HostUri | str | None) -> HostUri | None:
    return HostUri.parse(uri) if isinstance(uri, str) else uri


@attrs.frozen
class HostInfo:
    """A host, and how it is reached.

    Raises:
        ConfigError: The URI cannot be meant.
    """

    id: str
    """What it is called here."""
    host: str
    """Its name or address."""
    uri: HostUri | None = attrs.field(default=None, converter=_to_uri)
    """Its libvirt URI, as an object or as text; `qemu+ssh://host/system` where there is none."""
    credentials: Credentials = attrs.field(factory=Credentials)
    """What libvirt is told when it asks who we are."""

    @classmethod
    def from_uri(cls, uri: HostUri | str) -> HostInfo:
        """The host of a URI, by its name there; this machine is `localhost`."""
        parsed = HostUri.parse(uri) if isinstance(uri, str) else uri
        name = parsed.host or "localhost"
        return cls(name, name, parsed)

    def with_uri(self, uri: HostUri | str) -> HostInfo:
        """The same host, reached in another way."""
        return attrs.evolve(self, uri=uri)

    @property
    def connect_uri(self) -> HostUri:
        """The URI to connect to.

        Raises:
            ConfigError: There is none, and the host's name cannot be part of one.
        """
        return self.uri or HostUri(transport="ssh", host=self.host)
