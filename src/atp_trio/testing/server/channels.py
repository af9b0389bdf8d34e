"""What the embedded server says and hears on each type of channel it knows: one class a type, and one row of `CHANNELS`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

import trio

from atp_trio.errors import MalformedMessage
from atp_trio.spice.messages import base, inputs, main
from atp_trio.spice.messages.inputs import InputsCap
from atp_trio.spice.messages.link import ChannelType
from atp_trio.spice.messages.main import MainCap
from atp_trio.spice.wire import Message, Role
from atp_trio.testing.server.channel import ServerChannel
from atp_trio.testing.server.display import DisplayChannel

# Bytes of padding in the three PINGs of the network test.
NETWORK_TEST: Final = (0, 0, 256_000)
AGENT_TOKENS: Final = 10
# Tokens are given back in bunches.
AGENT_BUNCH: Final = 5
MAX_AGENT_DATA: Final = 2048
RAM_HINT: Final = 16 * 1024 * 1024

_PING: Final = base.Ping.number(Role.SERVER)
_MOTION_ACK: Final = inputs.MouseMotionAck.number(Role.SERVER)
_PADDING: Final = bytes(max(NETWORK_TEST))


class MainChannel(ServerChannel):
    """The session itself: when main ends, the client's other channels do."""

    caps: ClassVar[frozenset[int]] = frozenset({MainCap.NAME_AND_UUID, MainCap.AGENT_CONNECTED_TOKENS})

    def _begin(self) -> None:
        self._pinged: dict[int, float] = {}
        self._agent_started = False
        self._agent_tokens = AGENT_TOKENS
        self._agent_taken = 0
        self._handlers |= {
            main.AttachChannels: self._attach,
            main.MouseModeRequest: self._mouse_mode,
            main.AgentStart: self._agent_start,
            main.AgentData: self._agent_data,
            base.Pong: self._pong,
        }
        options = self.server.options
        self.core.send(
            main.Init(
                session_id=self.session.id,
                display_channels_hint=len(self.machine.canvases),
                supported_mouse_modes=self._modes,
                current_mouse_mode=self.session.mouse_mode,
                agent_connected=int(options.agent),
                agent_tokens=AGENT_TOKENS,
                multi_media_time=self.server.multi_media_time(),
                ram_hint=RAM_HINT,
            )
        )
        if MainCap.NAME_AND_UUID in self.linked.client_caps:
            if options.name is not None:
                self.core.send(main.Name(name=options.name.encode() + b"\0"))
            if options.uuid is not None:
                self.core.send(main.Uuid(uuid=options.uuid.bytes))
        if options.network_test and self.linked.network_test:
            self._test_network()

    async def _wait_end(self) -> None:
        # Channels that the client closed before main end before it, although Trio may wake main first: one round of the
        # scheduler finds them, and in the next they have taken notice.
        await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()
        while any(channel.is_ending for channel in self.session.channels.values() if channel is not self):
            await trio.lowlevel.checkpoint()

    def _end(self) -> None:
        self.session.end()

    @property
    def _modes(self) -> int:
        return sum(self.server.options.mouse_modes)

    def _test_network(self) -> None:
        for number, size in enumerate(NETWORK_TEST, start=1):
            now = trio.current_time()
            self._pinged[number] = now
            ping = base.Ping(id=number, timestamp=int(now * 1e6) % 2**64)
            self.core.send_body(_PING, ping.encode(), memoryview(_PADDING)[:size])

    def _pong(self, message: base.Pong) -> None:
        self.was_read = True
        sent = self._pinged.pop(message.id, None)
        if sent is not None:
            self.server.pings.append(trio.current_time() - sent)

    def _attach(self, _: main.AttachChannels) -> None:
        # It is what clients answer INIT with.
        self.was_read = True
        offered = tuple(main.ChannelId(kind, number) for kind, number in self.server.options.channels)
        self.core.send(main.ChannelsList(channels=offered))
        self.core.send(main.MultiMediaTime(time=self.server.multi_media_time()))

    def _mouse_mode(self, message: main.MouseModeRequest) -> None:
        if message.mode in self.server.options.mouse_modes:
            self.session.mouse_mode = message.mode
            self.core.send(main.MouseModeChanged(supported_modes=self._modes, current_mode=message.mode))

    def _agent_start(self, _: main.AgentStart) -> None:
        self._agent_started = self.server.options.agent

    def _agent_data(self, message: main.AgentData) -> None:
        if len(message.data) > MAX_AGENT_DATA:
            raise MalformedMessage(f"{len(message.data)} bytes for the guest agent at once")
        if not self._agent_tokens:
            raise MalformedMessage("data for the guest agent without a token")
        self._agent_tokens -= 1
        if self._agent_started:
            self.server.agent_data.append(bytes(message.data))
        self._agent_taken += 1
        self.return_tokens()

    def return_tokens(self) -> None:
        """Give back the tokens of what the guest agent has taken, unless it is busy."""
        if self._agent_taken >= AGENT_BUNCH and not self.server.agent_is_busy:
            self._agent_tokens += self._agent_taken
            self.core.send(main.AgentToken(num_tokens=self._agent_taken))
            self._agent_taken = 0


class InputsChannel(ServerChannel):
    """Keyboard and mouse; motions are acknowledged by fours, a batch at a time."""

    caps: ClassVar[frozenset[int]] = frozenset({InputsCap.KEY_SCANCODE})

    def _begin(self) -> None:
        self._moved = 0
        self.machine.new_user()
        self._handlers |= {
            inputs.KeyDown: lambda message: self._lock_keys(self.machine.key(message.code)),
            inputs.KeyUp: lambda message: self._lock_keys(self.machine.key(message.code)),
            inputs.KeyScancode: lambda message: self._lock_keys(self.machine.scancodes(bytes(message.data))),
            inputs.KeyModifiers: self._modifiers,
            inputs.MouseMotion: self._motion,
            inputs.MousePosition: self._position,
            inputs.MousePress: lambda message: self.machine.press(message.button),
            inputs.MouseRelease: lambda message: self.machine.release(message.button),
        }
        self.core.send(inputs.Init(modifiers=self.machine.modifiers))

    def _take(self, message: Message) -> None:
        handler = self._handlers.get(type(message))
        if handler is None:
            return
        handler(message)
        if isinstance(message, inputs.KeyScancode):  # its bytes are the receive buffer's
            message = inputs.KeyScancode(data=bytes(message.data))
        self.machine.events.append(message)

    def _after_batch(self) -> None:
        bunches, self._moved = divmod(self._moved, inputs.MOTION_ACK_BUNCH)
        for _ in range(bunches):
            self.core.send_body(_MOTION_ACK)

    def _lock_keys(self, changed: bool) -> None:
        if changed:
            self.core.send(inputs.KeyModifiers(modifiers=self.machine.modifiers))

    def _modifiers(self, message: inputs.KeyModifiers) -> None:
        self.machine.modifiers = message.modifiers
        self._lock_keys(True)

    def _motion(self, message: inputs.MouseMotion) -> None:
        # What does not fit the mouse mode is acknowledged too, and dropped.
        self._moved += 1
        machine = self.machine
        machine.motions += 1
        if self.session.mouse_mode is main.MouseMode.SERVER:
            width, height = self.server.options.size
            x, y = machine.pointer
            machine.pointer = min(max(x + message.dx, 0), width - 1), min(max(y + message.dy, 0), height - 1)

    def _position(self, message: inputs.MousePosition) -> None:
        self._moved += 1
        self.machine.positions += 1
        if self.session.mouse_mode is main.MouseMode.CLIENT:
            self.machine.pointer = message.x, message.y


class CursorChannel(ServerChannel):
    """The pointer's look."""

    def _begin(self) -> None:
        if self.server.options.ack_window:
            self.core.announce_window(self.server.options.ack_window)
        self.core.send(self.server.cursor.first())
        self.server.cursor.tell = self._tell

    def _tell(self, message: Message) -> None:
        # A client that does not take them misses some: the next one says all there is to know.
        if self.core.send_window.is_open and self.outbox.has_room:
            self.send(message)

    def _end(self) -> None:
        if self.server.cursor.tell == self._tell:
            self.server.cursor.tell = None


CHANNELS: Final[Mapping[ChannelType, type[ServerChannel]]] = {
    ChannelType.MAIN: MainChannel,
    ChannelType.DISPLAY: DisplayChannel,
    ChannelType.INPUTS: InputsChannel,
    ChannelType.CURSOR: CursorChannel,
}
