"""What a program holds of a guest's keyboard and mouse: keys and buttons that are down, lock keys that it has turned off.

Theory of operation. Who holds a key may be cancelled, or leave, or lose the channel, and a guest whose Ctrl stays down is of no
use to anybody. So what goes down is noted here in the same step in which it is sent, and let go from here without waiting for
anything. A server releases everything when a channel is lost. The one that is linked in its place takes this over and presses it
again; from then on it is the one that lets go, also for those who still have the lost one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import attrs
import trio

from atp_trio.errors import ConfigError
from atp_trio.keyboard import Key
from atp_trio.spice.channels.base import SpiceChannel
from atp_trio.spice.channels.session import Session
from atp_trio.spice.messages import inputs
from atp_trio.spice.messages.inputs import MouseButton, MouseButtonMask
from atp_trio.spice.messages.link import ChannelType
from atp_trio.spice.wire import Message


@attrs.define(eq=False)
class Held:
    """What is held on an inputs channel, and on those that come in its place."""

    _send: Callable[[Message], bool]
    """Sends without regard to what is queued: there are no more releases than presses. Whether the channel is open for it."""
    keys: dict[Key, None] = attrs.field(init=False, factory=dict)
    """Those that are down, in the order they went down."""
    buttons: int = attrs.field(init=False, default=0)
    """Those that are down: a mask of `MouseButtonMask`."""
    locks: int | None = attrs.field(init=False, default=None)
    """The guest's lock keys as the server of this channel last told them; None before it has."""
    owed_locks: int = attrs.field(init=False, default=0)
    """Those that typing has turned off and is to turn on again."""

    def note_key(self, key: Key, *, is_down: bool) -> None:
        """A key was sent down or up."""
        if is_down:
            self.keys.setdefault(key)
        else:
            self.keys.pop(key, None)

    def note_button(self, button: MouseButton, *, is_down: bool) -> None:
        """A button was sent down or up."""
        mask = button_mask(button)
        self.buttons = self.buttons | mask if is_down else self.buttons & ~mask

    def release_key(self, key: Key) -> None:
        """Let a key go up, if it is down."""
        if key in self.keys:
            del self.keys[key]
            self._send(inputs.KeyUp(code=key.scancode_up()))

    def release_button(self, button: MouseButton) -> None:
        """Let a button go up, if it is down."""
        if self.buttons & button_mask(button):
            self.buttons &= ~button_mask(button)
            self._send(inputs.MouseRelease(button=button, buttons_state=self.buttons))

    def release_all(self) -> None:
        """Let go of everything that is down."""
        for key in reversed(tuple(self.keys)):
            self.release_key(key)
        for button in self._pressed():
            self.release_button(button)

    def owe_locks(self, locks: int) -> None:
        """Lock keys were sent off, for a while."""
        self.owed_locks = locks

    def give_locks_back(self) -> None:
        """Turn the lock keys on again that are owed; where that cannot be now, the channel in place of this one does it."""
        if self.owed_locks and self.locks is not None and self._send(inputs.KeyModifiers(modifiers=self.locks | self.owed_locks)):
            self.owed_locks = 0

    def move(self, send: Callable[[Message], bool]) -> list[Message]:
        """Belong to the channel that was linked in place of one that was lost; gives what presses everything again."""
        self._send, self.locks = send, None
        keys = [inputs.KeyDown(code=key.scancode_down()) for key in self.keys]
        return [*keys, *(inputs.MousePress(button=button, buttons_state=self.buttons) for button in self._pressed())]

    def _pressed(self) -> Iterator[MouseButton]:
        return (button for button in MouseButton if button and self.buttons & button_mask(button))


class HoldingChannel(SpiceChannel):
    """A channel that lets go of what is held when it is left, and takes over what is held when it comes in place of another."""

    def __init__(self, session: Session, channel_type: ChannelType, channel_id: int) -> None:
        super().__init__(session, channel_type, channel_id)
        self._held = Held(self._force)

    @property
    def held_keys(self) -> tuple[Key, ...]:
        """The keys that are down, in the order they went down."""
        return tuple(self._held.keys)

    @property
    def held_buttons(self) -> int:
        """The buttons that are down: a mask of `MouseButtonMask`."""
        return self._held.buttons

    async def release_all(self) -> None:
        """Release every key and button that is down."""
        await trio.lowlevel.checkpoint()
        self._open_parts()
        self._held.release_all()

    def _say_goodbye(self) -> None:
        self._held.release_all()

    async def _send_and_note(self, message: Message, note: Callable[[], object]) -> None:
        """Send, and note it in the same step: who leaves the connection meanwhile, in another task, knows what is down."""
        await trio.lowlevel.checkpoint_if_cancelled()
        await self._wait_room()
        self.send_nowait(message)
        note()
        await trio.lowlevel.cancel_shielded_checkpoint()

    def _force(self, message: Message) -> bool:
        """Send without regard to what is queued; whether the channel is open for it."""
        if not (self.is_open and self._core and self._outbox):
            return False
        self._core.send(message)
        self._outbox.put(self._core.data_to_send())
        return True

    # --- a channel that is linked again

    def leave_legacy(self) -> object:
        """This channel, or the one before it if it never opened: what is held down is asked for when the next one is open."""
        return self._legacy or self

    def inherit(self, legacy: object) -> None:
        """Be the successor of a channel that was lost."""
        assert isinstance(legacy, HoldingChannel)
        self._legacy = legacy

    def _opened(self) -> None:
        lost, self._legacy = self._legacy, None
        if isinstance(lost, HoldingChannel):
            self._succeed(lost)

    def _succeed(self, lost: HoldingChannel) -> None:
        self._held = lost._held
        self._put(*self._held.move(self._force))


def button_mask(button: MouseButton) -> int:
    """The bit of `MouseButtonMask` that is this button's.

    Raises:
        ConfigError: No such button.
    """
    try:
        return MouseButtonMask[MouseButton(button).name]
    except KeyError:
        raise ConfigError(f"there is no mouse button {button!r}") from None
