"""The main channel: the session itself, its channels, the mouse mode, and the guest agent's presence.

Source: SPICE protocol reference, sections 4 and 5.
"""

from __future__ import annotations

import time
import uuid
from collections import deque
from typing import ClassVar, Final

import attrs
import trio

from atp_trio.errors import LocalProtocolError, MalformedMessage
from atp_trio.spice.channels.base import SpiceChannel
from atp_trio.spice.channels.inbox import log
from atp_trio.spice.channels.session import Session
from atp_trio.spice.messages import main, vdagent
from atp_trio.spice.messages.link import ChannelType
from atp_trio.spice.messages.main import MainCap, MouseMode
from atp_trio.spice.protocol.vdagent import AgentTransport
from atp_trio.spice.wire import Message

# Agent messages that nobody takes are dropped from the front: they are announcements and clipboards, of which the newest counts.
MAX_AGENT_MESSAGES: Final = 64
MOUSE_MODES: Final = (MouseMode.SERVER, MouseMode.CLIENT)


@attrs.frozen
class OfferedChannel:
    """A channel that the machine offers.

    Attributes:
        type: What it is.
        id: Its instance.
    """

    type: ChannelType
    id: int


class MainChannel(SpiceChannel):
    """The channel that opens a session and closes last.

    Attributes:
        supported_mouse_modes: The modes that the machine can do now.
        machine_name: The machine's name; None where the server does not tell it.
        machine_uuid: The machine's UUID; None where the server does not tell it.
        display_channels_hint: How many displays the server thinks there are.
        ram_hint: Bytes of graphics memory in the guest.
        agent: The guest agent's transport: `agent.is_connected`, `agent.tokens`.
    """

    # Migration is left out: a server that knows the client cannot follow sends MIGRATE_SWITCH_HOST, once, at the end.
    caps: ClassVar[frozenset[int]] = frozenset({MainCap.NAME_AND_UUID, MainCap.AGENT_CONNECTED_TOKENS})
    can_ask: ClassVar[bool] = True

    def __init__(self, session: Session, channel_type: ChannelType, channel_id: int) -> None:
        super().__init__(session, channel_type, channel_id)
        self.supported_mouse_modes: frozenset[MouseMode] = frozenset()
        self.machine_name: str | None = None
        self.machine_uuid: uuid.UUID | None = None
        self.display_channels_hint = 0
        self.ram_hint = 0
        self.agent = AgentTransport()
        self._offered: dict[OfferedChannel, None] | None = None
        self._lists = 0
        self._multi_media_time: tuple[int, float] | None = None
        self._agent_messages: deque[tuple[vdagent.Header, bytes]] = deque(maxlen=MAX_AGENT_MESSAGES)
        self._handlers |= {
            main.Init: self._init,
            main.ChannelsList: self._channels_list,
            main.MouseModeChanged: self._mouse_mode,
            main.MultiMediaTime: lambda message: self._clock(message.time),
            main.Name: self._name,
            main.Uuid: self._uuid,
            main.AgentConnected: lambda _: self._agent_connected(None),
            main.AgentConnectedTokens: lambda message: self._agent_connected(message.num_tokens),
            main.AgentDisconnected: self._agent_disconnected,
            main.AgentToken: lambda message: self._put(*self.agent.add_tokens(message.num_tokens)),
            main.AgentData: self._agent_data,
            main.MigrateBegin: self._migrating,
            main.MigrateBeginSeamless: self._migrating,
            main.MigrateCancel: self._migrating,
            main.MigrateEnd: self._migrating,
            main.MigrateSwitchHost: self._migrating,
            main.MigrateDstSeamlessAck: self._migrating,
            main.MigrateDstSeamlessNack: self._migrating,
        }

    # --- for callers

    @property
    def offered(self) -> tuple[OfferedChannel, ...]:
        """The channels that the machine offers, in the server's order; empty before the list has come."""
        return tuple(self._offered or ())

    @property
    def multi_media_time(self) -> int:
        """What the machine's multimedia clock shows now, in milliseconds; it wraps at 2**32."""
        if self._multi_media_time is None:
            return 0
        value, at = self._multi_media_time
        return (value + round((time.monotonic() - at) * 1000)) % 2**32

    async def wait_offered(self) -> tuple[OfferedChannel, ...]:
        """Wait for the list of channels; gives it."""
        await self._wait_until(lambda: self._offered is not None)
        return self.offered

    async def ask(self) -> None:
        """Ask for the list of channels, and wait for it.

        Raises:
            ConnectionLost: The channel has ended.

        Cancellation: the question stands.
        """
        told = self._lists
        await self.send(main.AttachChannels())
        await self._wait_until(lambda: self._lists > told)

    async def request_mouse_mode(self, mode: MouseMode) -> None:
        """Ask for a mouse mode, now and whenever the machine changes it, and wait until it is in force.

        Raises:
            LocalProtocolError: The machine does not support it now.

        Cancellation: the request stands.
        """
        await trio.lowlevel.checkpoint()
        self._open_parts()
        if mode not in self.supported_mouse_modes:
            raise LocalProtocolError(f"the machine does not support mouse mode {mode.name} now")
        self.session.wanted_mouse_mode = mode
        self._ask_for_mouse_mode()
        self._flush()
        await self._wait_until(lambda: self.session.mouse_mode is mode)

    async def send_agent_message(self, kind: int, payload: bytes) -> None:
        """Send a message to the guest agent; its pieces go out as the server gives tokens.

        Raises:
            LocalProtocolError: No agent is connected.

        Cancellation: the message is queued whole, or not at all.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        await self._wait_room()
        if not self.agent.is_connected:
            raise LocalProtocolError("no guest agent is connected")
        self._put(*self.agent.send(kind, payload))
        self._flush()
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def receive_agent_message(self) -> tuple[vdagent.Header, bytes]:
        """The next message of the guest agent: its header and its payload. Of those that nobody takes, the last 64 are kept."""
        await self._wait_until(lambda: bool(self._agent_messages))
        return self._agent_messages.popleft()

    # --- what the server says

    def _init(self, message: main.Init) -> None:
        self.session.connection_id = message.session_id
        self.display_channels_hint, self.ram_hint = message.display_channels_hint, message.ram_hint
        self._clock(message.multi_media_time)
        self.agent.tokens = message.agent_tokens
        if message.agent_connected:
            self._agent_connected(message.agent_tokens)
        self._modes(message.supported_mouse_modes, message.current_mouse_mode)
        self._put(main.AttachChannels())

    def _channels_list(self, message: main.ChannelsList) -> None:
        self._lists += 1
        # Later lists add to the first. Types and ids are bytes, so that there are never more than 65536.
        self._offered = (self._offered or {}) | {OfferedChannel(one.type, one.id): None for one in message.channels}
        self._changed.unpark_all()

    def _mouse_mode(self, message: main.MouseModeChanged) -> None:
        self.session.requested_mouse_mode = None
        self._modes(message.supported_modes, message.current_mode)

    def _modes(self, supported: int, current: MouseMode) -> None:
        self.supported_mouse_modes = frozenset(mode for mode in MOUSE_MODES if supported & mode)
        if current in MOUSE_MODES:
            self.session.mouse_mode = current
        self._ask_for_mouse_mode()
        self._changed.unpark_all()

    def _ask_for_mouse_mode(self) -> None:
        """The server never chooses the client's mode by itself; it must be asked, after every change again."""
        wanted = self.session.wanted_mouse_mode
        if wanted in self.supported_mouse_modes and self.session.mouse_mode is not wanted:
            self.session.requested_mouse_mode = wanted
            self._put(main.MouseModeRequest(mode=wanted))

    def _clock(self, value: int) -> None:
        self._multi_media_time = (value, time.monotonic())

    def _name(self, message: main.Name) -> None:
        self.machine_name = bytes(message.name).rstrip(b"\0").decode(errors="replace")
        self._changed.unpark_all()

    def _uuid(self, message: main.Uuid) -> None:
        self.machine_uuid = uuid.UUID(bytes=bytes(message.uuid))
        self._changed.unpark_all()

    def _agent_connected(self, tokens: int | None) -> None:
        self._put(*self.agent.connected(tokens))
        self._changed.unpark_all()

    def _agent_disconnected(self, _: main.AgentDisconnected) -> None:
        self.agent.reset()
        self._agent_messages.clear()
        self._changed.unpark_all()

    def _agent_data(self, message: main.AgentData) -> None:
        if not self.agent.is_connected:
            return
        try:
            self._agent_messages.extend(self.agent.receive(message.data))
        except MalformedMessage as error:
            # The guest's fault, not the server's: the agent is lost until it connects again, the machine is not.
            log.warning("%s: the guest agent sends nonsense and is not listened to any more: %s", self.name, error)
            self.agent.reset()
        self._changed.unpark_all()

    def _migrating(self, message: Message) -> None:
        self.migration = message
        log.warning("%s: the machine is migrating, which this version does not follow: %s", self.name, message)
        self._changed.unpark_all()
