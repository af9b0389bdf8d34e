"""Every exception that atp-trio raises on purpose.

```
AtpError
├── ConfigError                       a URI, a setting or an argument that cannot be meant (also ValueError)
├── ProtocolError
│   ├── LocalProtocolError            we were asked to break the protocol
│   └── RemoteProtocolError           the peer broke it
│       ├── MalformedMessage          its bytes do not fit the message's layout, or a limit of ours
│       ├── UnknownMessage            a type that this channel does not have
│       └── UnexpectedMessage         a message that is not allowed now
├── TransportError
│   ├── ConnectFailed                 no connection: refused, no such host, no such socket
│   │   └── TlsError                  the TLS handshake or the certificate's verification failed
│   ├── LinkError                     the server refused the link; `code` is SPICE's link error
│   │   ├── LinkInvalidMagic, LinkInvalidData, LinkVersionMismatch, LinkNeedSecured, LinkNeedUnsecured
│   │   ├── AuthenticationFailed      wrong, missing or expired ticket (PERMISSION_DENIED); or the host refused who we are
│   │   └── LinkBadConnectionId, LinkChannelNotAvailable
│   ├── ConnectionLost                the connection ended under us (also trio.BrokenResourceError)
│   │   └── NotConnected              there is no connection now, so nothing was sent
│   ├── ChannelNotAvailable           this machine offers no such channel
│   └── HostNotFound, DomainNotFound
├── ImageError                        an image that cannot be decoded, or is larger than the limit
└── HypervisorError                   a call to libvirt failed; `code` and `domain` are those of libvirt's error
    ├── DomainNotRunning              the machine is off, or paused; `state` is libvirt's
    ├── QmpError                      QEMU answered a command with an error
    └── QgaError                      so did the guest agent
        └── AgentUnavailable          there is no agent, or it does not answer
            ├── AgentNotConfigured    the machine has no port for an agent
            ├── AgentNotConnected     nobody in the guest has opened the port: not installed, not started yet, ended
            ├── AgentLost             the agent ended in the middle of the command, whose outcome is unknown
            └── AgentUnresponsive     it has opened the port and says nothing: stopped, starved, or busy with something else
```

Facts are attributes, the sentence is `str(error)`, the cause is `__cause__`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any

import trio


class AtpError(Exception):
    """The root of the tree."""


class ConfigError(AtpError, ValueError):
    """A URI, a setting or an argument that cannot be meant."""


class ProtocolError(AtpError):
    """The protocol was broken, or would have been."""


class LocalProtocolError(ProtocolError):
    """The caller asked for something the protocol does not allow here; nothing was sent."""


class RemoteProtocolError(ProtocolError):
    """The peer sent what the protocol does not allow."""


class MalformedMessage(RemoteProtocolError):
    """Bytes that do not fit the layout of the message they claim to be, or that exceed a limit of ours."""


class UnknownMessage(RemoteProtocolError):
    """A message type that the channel does not have."""


class UnexpectedMessage(RemoteProtocolError):
    """A message that exists but is not allowed in the present state."""


class TransportError(AtpError):
    """The connection could not be had, or was lost."""


class ConnectFailed(TransportError):
    """No connection: refused, no such host, no such socket."""


class TlsError(ConnectFailed):
    """The TLS handshake failed, or the peer's certificate did not verify."""


class ConnectionLost(TransportError, trio.BrokenResourceError):
    """The connection ended under us: reset, end of stream in the middle, or a peer that broke the protocol (the cause)."""


class NotConnected(ConnectionLost):
    """There is no connection now: nothing was sent, so it can be asked again as it is."""


class ChannelNotAvailable(TransportError):
    """The machine does not offer this channel, or it is not open."""


class HostNotFound(TransportError):
    """No host of that id is known."""


class DomainNotFound(TransportError):
    """The host has no domain of that name, UUID or id."""


class LinkError(TransportError):
    """The server refused the link.

    Attributes:
        code: SPICE's link error number, as in `SPICE_LINK_ERR_*`.
    """

    default_code = 1

    def __init__(self, message: str, *, code: int | None = None) -> None:
        super().__init__(message)
        self.code = self.default_code if code is None else code


class LinkInvalidMagic(LinkError):
    """INVALID_MAGIC: the server did not take our first bytes for SPICE."""

    default_code = 2


class LinkInvalidData(LinkError):
    """INVALID_DATA: the server found our link message or authentication mechanism invalid."""

    default_code = 3


class LinkVersionMismatch(LinkError):
    """VERSION_MISMATCH: the server speaks another major version of the protocol, or requires SASL."""

    default_code = 4


class LinkNeedSecured(LinkError):
    """NEED_SECURED: the server wants this channel over TLS."""

    default_code = 5


class LinkNeedUnsecured(LinkError):
    """NEED_UNSECURED: the server wants this channel without TLS."""

    default_code = 6


class AuthenticationFailed(LinkError):
    """PERMISSION_DENIED: the ticket is wrong, missing or expired; or a host refused the user, the password or the key."""

    default_code = 7


class LinkBadConnectionId(LinkError):
    """BAD_CONNECTION_ID: the server does not know the connection this channel names."""

    default_code = 8


class LinkChannelNotAvailable(LinkError):
    """CHANNEL_NOT_AVAILABLE: the channel vanished while it was being linked."""

    default_code = 9


class ImageError(AtpError):
    """An image that cannot be decoded, or whose size is over the limit."""


class HypervisorError(AtpError):
    """A call to libvirt or to what it reaches failed.

    Attributes:
        code: libvirt's error number, as in `VIR_ERR_*`; None where the error is not libvirt's.
        domain: The part of libvirt that it comes from, as in `VIR_FROM_*`.
    """

    def __init__(self, message: str, *, code: int | None = None, domain: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.domain = domain


class _CommandError(HypervisorError):
    """A command was answered with an error.

    Attributes:
        error_class: The `class` of the answer, such as `CommandNotFound`; None where there is no such answer.
        description: Its `desc`.
        data: What else the error object holds, if anything.
    """

    def __init__(
        self,
        message: str,
        *,
        error_class: str | None = None,
        description: str | None = None,
        data: Mapping[str, Any] | None = None,
        code: int | None = None,
        domain: int | None = None,
    ) -> None:
        super().__init__(message, code=code, domain=domain)
        self.error_class = error_class
        self.description = description
        self.data = data


class QmpError(_CommandError):
    """QEMU answered a QMP command with an error."""


class QgaError(_CommandError):
    """The guest agent answered with an error, or not at all."""


class AgentUnavailable(QgaError):
    """The guest agent is not connected, or did not answer in time: not configured, not started, stopped, or stuck."""


class AgentNotConfigured(AgentUnavailable):
    """The machine has no port for an agent: its definition has no channel `org.qemu.guest_agent.0`."""


class AgentNotConnected(AgentUnavailable):
    """Nobody in the guest has opened the agent's port. Nothing was sent; `QgaProtocol.wait_agent` waits for one."""


class AgentLost(AgentUnavailable):
    """The agent ended, or was started anew, in the middle: what became of the command is unknown."""


class AgentUnresponsive(AgentUnavailable):
    """The agent did not answer in time; the command may be carried out yet. Its late answer is nobody else's."""


class DomainNotRunning(HypervisorError):
    """The machine is off or paused, so that its agent cannot answer; nothing was sent.

    Attributes:
        state: What the machine does instead.
    """

    def __init__(self, message: str, *, state: IntEnum, code: int | None = None, domain: int | None = None) -> None:
        super().__init__(message, code=code, domain=domain)
        self.state = state
