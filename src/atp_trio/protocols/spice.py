"""SPICE as one of the protocols of a machine: where it is, its domain says. And input, as whatever carries it takes it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import attrs

from atp_trio.errors import ConfigError
from atp_trio.hypervisor.domain import Domain
from atp_trio.keyboard import get_layout, parse_chord
from atp_trio.protocols.base import Protocol
from atp_trio.spice.channels import InputsChannel
from atp_trio.spice.channels.damage import DamageReceiver
from atp_trio.spice.connection import SpiceVmConnection, open_spice
from atp_trio.spice.linking import Password
from atp_trio.spice.messages.geometry import Rect
from atp_trio.spice.messages.inputs import MouseButton
from atp_trio.spice.messages.link import ChannelType
from atp_trio.spice.streams.tls import SpiceTlsConfig

__all__ = ["KeyPress", "MachineInput", "MouseClick", "SpiceProtocol", "TypedText", "send_to_inputs"]


@attrs.frozen
class KeyPress:
    """Keys that are pressed together and released.

    Raises:
        ConfigError: The chord names no key.
    """

    chord: str
    """Such as `ctrl+alt+f2`."""

    def __attrs_post_init__(self) -> None:
        parse_chord(self.chord)


@attrs.frozen
class TypedText:
    """A text that is typed.

    Raises:
        ConfigError: There is no such layout, or it cannot type a character of the text.
    """

    text: str = attrs.field(repr=False)  # it may be a password
    """What to type."""
    layout: str = "us"
    """The keyboard layout that the guest is set to."""

    def __attrs_post_init__(self) -> None:
        get_layout(self.layout).keystrokes(self.text)


@attrs.frozen
class MouseClick:
    """A click on a pixel of the first screen; the guest must have a pointer with positions, such as a tablet."""

    x: int
    """From the left."""
    y: int
    """From the top."""
    button: MouseButton = MouseButton.LEFT
    """Which button."""


MachineInput = KeyPress | TypedText | MouseClick
"""What a person at the machine may do."""


async def send_to_inputs(inputs: InputsChannel, value: MachineInput) -> None:
    """Send input through a SPICE channel.

    Raises:
        LocalProtocolError: A click, but the mouse mode is SERVER; nothing was sent.
        ConnectionLost: The channel has ended; how much was sent is not known.
        ConfigError: It is no input.

    Cancellation: no key and no button is left down.
    """
    match value:
        case KeyPress(chord):
            await inputs.press(chord)
        case TypedText(text, layout):
            await inputs.type_text(text, layout=layout)
        case MouseClick(x, y, button):
            await inputs.click(x, y, button=button)
        case _:
            raise ConfigError(f"{value!r} is no input")


class SpiceProtocol(Protocol[Domain, MachineInput, Rect]):
    """SPICE with one machine: its screen, keyboard and mouse.

    ```python
    async with SpiceProtocol() as spice:
        await spice.connect(domain)
        await spice.send(TypedText("root"))
        (await spice.vm.display.screenshot()).save("screen.png")
    ```

    What is sent is input; what is received are the rectangles that are drawn on. All else that SPICE can do is at `vm`.

    Args:
        password: The ticket, where it is another than the one in the domain's definition; as for `open_spice`.
        tls: How to verify the server, where it offers TLS only.
    """

    def __init__(self, *, password: Password = None, tls: SpiceTlsConfig | None = None) -> None:
        super().__init__()
        self._password = password
        self._tls = tls
        self._vm: SpiceVmConnection
        self._damage: DamageReceiver

    @property
    def vm(self) -> SpiceVmConnection:
        """The connection: main, display and inputs are open.

        Raises:
            LocalProtocolError: It is not connected.
        """
        self._check_connected()
        return self._vm

    async def connect(self, domain: Domain) -> None:
        """Find the machine's SPICE server by its definition, and connect; through libvirt where it listens nowhere.

        Raises:
            LocalProtocolError: It is connected already, or this is outside of `async with`.
            HypervisorError: The machine does not run, has no SPICE, or its server cannot be reached from here.
            AtpError: What `open_spice` raises.

        Cancellation: it is not connected, nothing stays open.
        """
        await super().connect(domain)

    async def send(self, value: MachineInput) -> None:
        """Send input; as `send_to_inputs`, and LocalProtocolError where it is not connected."""
        await send_to_inputs(self.vm.inputs, value)

    async def receive(self) -> Rect:
        """The next rectangle of the screen that was drawn on since it was connected, or since it was received.

        Raises:
            LocalProtocolError: It is not connected.
            ConnectionLost: The display channel has ended.
            trio.BusyResourceError: Another task is receiving.

        Cancellation: nothing is lost.
        """
        self._check_connected()
        return await self._damage.receive()

    @asynccontextmanager
    async def _open(self, domain: Domain) -> AsyncIterator[None]:
        endpoint = await domain.spice_endpoint()
        where = endpoint.uri or partial(domain.open_graphics, endpoint.index)
        password = endpoint.password if self._password is None else self._password
        channels = (ChannelType.DISPLAY, ChannelType.INPUTS)
        async with (
            open_spice(where, password=password, tls=self._tls, channels=channels) as self._vm,
            self._vm.display.damage() as self._damage,
        ):
            yield
