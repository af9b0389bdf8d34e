"""The mouse of an inputs channel: motions or positions, buttons, the wheel.

Theory of operation. A guest takes what moves its pointer at its own pace. The server acknowledges motions and positions by
fours; no more than a window of them are under way, so that the guest's pointer is never far behind ours. Whether motions or
positions are sent is the server's word, the mouse mode.

Source: SPICE protocol reference, section 7.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

import trio

from atp_trio.errors import ConfigError, LocalProtocolError, TransportError
from atp_trio.spice.channels.held import HoldingChannel, button_mask
from atp_trio.spice.channels.session import Session
from atp_trio.spice.messages import base, inputs
from atp_trio.spice.messages.inputs import MouseButton
from atp_trio.spice.messages.link import ChannelType
from atp_trio.spice.messages.main import MouseMode
from atp_trio.spice.wire import Message

# The server acknowledges motions in bunches of 4; spice-gtk keeps at most two bunches under way.
MOTION_WINDOW: Final = 2 * inputs.MOTION_ACK_BUNCH

# What is sent in which mode.
MODES: Final = {MouseMode.SERVER: "motions", MouseMode.CLIENT: "positions"}


class MouseChannel(HoldingChannel):
    """A channel with a mouse.

    Attributes:
        motion_window: How many motions and positions may be unacknowledged before the next one waits. The default, 8, is what
            keeps the guest's pointer close to ours; a larger one trades that for throughput.
        motions_sent: Motions and positions sent so far.
        motion_acks: Acknowledgements received so far, each for 4 of them.
        last_position: Where the pointer was put last (mouse mode CLIENT): the display channel's id, x and y; None before that.
    """

    can_ask: ClassVar[bool] = True

    def __init__(self, session: Session, channel_type: ChannelType, channel_id: int) -> None:
        super().__init__(session, channel_type, channel_id)
        self.motion_window = MOTION_WINDOW
        self.motions_sent = 0
        self.motion_acks = 0
        self.last_position: tuple[int, int, int] | None = None
        self._handlers |= {
            # Nothing on this channel depends on another, so that a caller may look for answers (`Inbox.look`).
            base.WaitForChannels: lambda _: None,
            inputs.MouseMotionAck: self._motion_ack,
        }

    @property
    def mouse_mode(self) -> MouseMode:
        """CLIENT: positions are sent; SERVER: motions are."""
        return self.session.mouse_mode

    @property
    def unacknowledged_motions(self) -> int:
        """Motions and positions that the server has not acknowledged; up to 3 never are, acknowledgement being by fours."""
        return self.motions_sent - inputs.MOTION_ACK_BUNCH * self.motion_acks

    def motion_nowait(self, dx: int, dy: int) -> None:
        """Move the pointer by so many pixels (mouse mode SERVER) without waiting.

        Raises:
            trio.WouldBlock: The window is full, or too much is queued: see `wait_motion`.
            LocalProtocolError: The mouse mode is CLIENT.
        """
        if not self.motions_nowait([(dx, dy)]):
            raise trio.WouldBlock

    def motions_nowait(self, moves: Sequence[tuple[int, int]]) -> int:
        """Move the pointer several times (mouse mode SERVER), sent together, without waiting.

        Returns:
            How many of the moves (dx, dy) were sent, from the first on: as many as the window has room for.

        Raises:
            trio.WouldBlock: Too much is queued: see `wait_motion`.
            LocalProtocolError: The mouse mode is CLIENT.
        """
        self._check_mode(MouseMode.SERVER)
        return self._move([inputs.MouseMotion(dx=dx, dy=dy, buttons_state=self._held.buttons) for dx, dy in moves[: self._room]])

    def positions_nowait(self, points: Sequence[tuple[int, int]], *, display_id: int = 0) -> int:
        """Put the pointer on several pixels in turn (mouse mode CLIENT), sent together, without waiting; as `motions_nowait`."""
        self._check_mode(MouseMode.CLIENT)
        sent = self._move(
            [
                inputs.MousePosition(x=x, y=y, buttons_state=self._held.buttons, display_id=display_id)
                for x, y in points[: self._room]
            ]
        )
        if sent:
            self.last_position = (display_id, *points[sent - 1])
        return sent

    def position_nowait(self, x: int, y: int, *, display_id: int = 0) -> None:
        """Put the pointer on a pixel of that display channel's surface (mouse mode CLIENT) without waiting.

        Raises:
            trio.WouldBlock: The window is full, or too much is queued: see `wait_motion`.
            LocalProtocolError: The mouse mode is SERVER.
        """
        if not self.positions_nowait([(x, y)], display_id=display_id):
            raise trio.WouldBlock

    def _check_mode(self, mode: MouseMode) -> None:
        if self.session.mouse_mode is not mode:
            now = self.session.mouse_mode
            raise LocalProtocolError(f"the mouse mode is {now.name}: send {MODES[now]}")

    def _move(self, messages: Sequence[Message]) -> int:
        if messages:
            self.send_nowait(*messages)
            self.motions_sent += len(messages)
        return len(messages)

    @property
    def _room(self) -> int:
        """How many motions the window has room for."""
        return max(0, self.motion_window - self.unacknowledged_motions)

    async def wait_motion(self) -> None:
        """Wait until the next motion or position can be sent."""
        await self._wait_until(lambda: self._room > 0)
        await self._wait_room()

    async def wait_motions_acknowledged(self) -> None:
        """Wait until the server has acknowledged all motions, but for the last up to 3 of an unfinished bunch."""
        await self._wait_soon(lambda: self.unacknowledged_motions < inputs.MOTION_ACK_BUNCH)

    async def ask(self) -> None:
        """Send motions of the kind that does not belong to the mouse mode, and wait for the acknowledgement.

        Servers acknowledge them like any, and nothing moves.

        Raises:
            ConnectionLost: The channel has ended.

        Cancellation: the question stands.
        """
        acks = self.motion_acks
        if self.unacknowledged_motions < inputs.MOTION_ACK_BUNCH:  # else an acknowledgement is under way
            is_client = self.session.mouse_mode is MouseMode.CLIENT
            still = (
                inputs.MouseMotion(dx=0, dy=0, buttons_state=self._held.buttons)
                if is_client
                else inputs.MousePosition(x=0, y=0, buttons_state=self._held.buttons, display_id=0)
            )
            await self._wait_room()
            self._move([still] * inputs.MOTION_ACK_BUNCH)
        await self._wait_until(lambda: self.motion_acks > acks)

    async def motion(self, dx: int, dy: int) -> None:
        """Move the pointer by so many pixels (mouse mode SERVER), waiting while the window is full.

        Cancellation: it was sent, or it was not.
        """
        await self._need_mode(MouseMode.SERVER)
        await self.wait_motion()
        self.motion_nowait(dx, dy)

    async def position(self, x: int, y: int, *, display_id: int = 0) -> None:
        """Put the pointer on a pixel of that display channel's surface (mouse mode CLIENT), waiting while the window is full.

        Cancellation: it was sent, or it was not.
        """
        await self._need_mode(MouseMode.CLIENT)
        await self.wait_motion()
        self.position_nowait(x, y, display_id=display_id)

    async def _need_mode(self, mode: MouseMode) -> None:
        """Wait while a change to this mode is under way."""
        if self.session.mouse_mode is not mode and self.session.requested_mouse_mode is mode:
            await self.session.wait_until(lambda: self.session.requested_mouse_mode is not mode or not self.is_open)

    async def button_down(self, button: MouseButton = MouseButton.LEFT) -> None:
        """Press a mouse button and leave it down.

        Cancellation: the button went down and counts as held, or nothing was sent.
        """
        await self._send_and_note(
            inputs.MousePress(button=button, buttons_state=self._held.buttons | button_mask(button)),
            lambda: self._held.note_button(button, is_down=True),
        )

    async def button_up(self, button: MouseButton = MouseButton.LEFT) -> None:
        """Release a mouse button; as `key_up`."""
        try:
            await self._send_and_note(
                inputs.MouseRelease(button=button, buttons_state=self._held.buttons & ~button_mask(button)),
                lambda: self._held.note_button(button, is_down=False),
            )
        except TransportError:
            self._held.release_button(button)
            raise

    async def click(
        self, x: int | None = None, y: int | None = None, *, button: MouseButton = MouseButton.LEFT, display_id: int = 0
    ) -> None:
        """Press and release a button, at a pixel where one is given (mouse mode CLIENT), else where the pointer is.

        Cancellation: the button is not left down.
        """
        if x is not None and y is not None:
            await self.position(x, y, display_id=display_id)
        elif (x is None) != (y is None):
            raise ConfigError("a pixel has both x and y")
        try:
            await self.button_down(button)
        finally:
            self._held.release_button(button)

    async def wheel(self, steps: int) -> None:
        """Turn the wheel: up for positive steps, down for negative ones."""
        button = MouseButton.UP if steps > 0 else MouseButton.DOWN
        await trio.lowlevel.checkpoint()
        for _ in range(abs(steps)):
            await self.click(button=button)

    def _succeed(self, lost: HoldingChannel) -> None:
        super()._succeed(lost)
        assert isinstance(lost, MouseChannel)
        self.motion_window, self.last_position = lost.motion_window, lost.last_position

    def _motion_ack(self, _: inputs.MouseMotionAck) -> None:
        self.motion_acks += 1
        self._changed.unpark_all()
