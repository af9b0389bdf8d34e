"""One machine over SPICE: its channels, linked, kept and left in order.

Theory of operation. Every channel runs in a background task of the connection's nursery, each under a shielded scope of its own
(see `channels.base`). The caller's block may end in any way: returning, raising, being cancelled at any checkpoint, or by
SIGINT. Then, under a shield with a short deadline, keys and buttons are released, the channels close, a display only after its
first message was read, and main closes last. Background tasks never raise for what can be expected, so the block's own exception
leaves `open_spice` as it is, and an exception group means a bug of ours.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID

import attrs
import trio

from atp_trio.background import open_background
from atp_trio.errors import ChannelNotAvailable, ConnectionLost, LocalProtocolError
from atp_trio.spice.channels import (
    CHANNELS,
    ChannelStatistics,
    CursorChannel,
    DisplayChannel,
    InputsChannel,
    MainChannel,
    MessageChannel,
    SpiceChannel,
)
from atp_trio.spice.channels.base import LEAVE_SECONDS
from atp_trio.spice.channels.session import Session, SpiceLimits
from atp_trio.spice.keeper import ChannelKeeper, Keeping
from atp_trio.spice.linking import Linker, Password
from atp_trio.spice.messages.link import ChannelType
from atp_trio.spice.messages.main import MouseMode
from atp_trio.spice.protocol.ticket import is_prepared, prepare
from atp_trio.spice.streams.base import StreamOpener
from atp_trio.spice.streams.tls import SpiceTlsConfig
from atp_trio.spice.streams.uri import SpiceUri
from atp_trio.supervision.backoff import ReconnectConfig
from atp_trio.supervision.degradation import ChannelsConfig
from atp_trio.supervision.watch import StateBoard

DEFAULT_CHANNELS: Final = (ChannelType.DISPLAY, ChannelType.INPUTS, ChannelType.CURSOR)


class SpiceVmConnection:
    """A machine's SPICE connection; `open_spice` makes it.

    Attributes:
        uri: Where the server is; None where a function gives the streams.
        states: The states of the channels that are kept, to be watched; empty where none are.
    """

    def __init__(self, linker: Linker, nursery: trio.Nursery, keeping: Keeping | None) -> None:
        self.uri = linker.uri
        self.states = StateBoard() if keeping is None else keeping.board
        self._linker = linker
        self._nursery = nursery
        self._session = linker.session
        self._keeper = None if keeping is None else ChannelKeeper(self, linker, keeping)
        self._legacies: dict[tuple[int, int], object] = {}
        self._main: MainChannel | None = None

    def __repr__(self) -> str:
        names = ", ".join(channel.name for channel in self.channels)
        return f"<SpiceVmConnection {self.uri or 'over given streams'} {names or 'closed'}>"

    # --- the channels

    @property
    def channels(self) -> tuple[SpiceChannel, ...]:
        """The channels that are open, main first."""
        return tuple(channel for channel in self._session.channels.values() if channel.is_open)

    def get_channel(self, channel_type: ChannelType, channel_id: int = 0) -> SpiceChannel:
        """An open channel.

        Raises:
            ChannelNotAvailable: It is not open.
            ConnectionLost: It was, but the connection has ended; NotConnected where it is being linked again.
        """
        channel = self._session.channels.get((channel_type, channel_id))
        if channel is not None and channel.is_open:
            return channel
        if self._main is not None and self._main.closed_by is not None:
            raise ConnectionLost(f"the connection has ended: {self._main.closed_by}") from self._main.closed_by
        if self._keeper is not None:
            self._keeper.check((channel_type, channel_id))
        raise ChannelNotAvailable(f"{channel_type.name.lower()}:{channel_id} is not open")

    async def wait_channel(self, channel_type: ChannelType, channel_id: int = 0) -> SpiceChannel:
        """An open channel; one that is being linked, for the first time or again, is waited for.

        Raises:
            ChannelNotAvailable: It is not open, and nobody links it.
            ConnectionLost: The connection has ended, or linking it was given up.

        Cancellation: nothing is changed by it.
        """
        await trio.lowlevel.checkpoint()
        if self._keeper is not None:
            await self._keeper.wait_up((channel_type, channel_id))
        return self.get_channel(channel_type, channel_id)

    @property
    def main(self) -> MainChannel:
        """The main channel; once it has ended, the ended one, which tells by `closed_by` why."""
        assert self._main is not None
        return self._main

    @property
    def display(self) -> DisplayChannel:
        """The first screen."""
        return self.get_display(0)

    def get_display(self, channel_id: int) -> DisplayChannel:
        """The screen of that number."""
        channel = self.get_channel(ChannelType.DISPLAY, channel_id)
        assert isinstance(channel, DisplayChannel)
        return channel

    @property
    def inputs(self) -> InputsChannel:
        """Keyboard and mouse."""
        channel = self.get_channel(ChannelType.INPUTS)
        assert isinstance(channel, InputsChannel)
        return channel

    @property
    def cursor(self) -> CursorChannel:
        """The first screen's pointer."""
        channel = self.get_channel(ChannelType.CURSOR)
        assert isinstance(channel, CursorChannel)
        return channel

    async def open_channel(self, channel_type: ChannelType, channel_id: int = 0) -> SpiceChannel:
        """Open a channel and wait until it is linked; an open one is given as it is.

        Raises:
            ChannelNotAvailable: The machine does not offer it.
            TransportError: It could not be linked; the class says why.

        Cancellation: the channel is closed again, or never comes to be.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        old = self._session.channels.get((channel_type, channel_id))
        if old is not None and old.is_closing:
            await old.wait_closed()
        is_ours = (channel_type, channel_id) not in self._session.channels
        channel = self._start(channel_type, channel_id)
        try:
            await channel.wait_open()
        except trio.Cancelled:
            if is_ours:
                channel.close_soon()
            raise
        if self._keeper is not None:
            self._keeper.keep((channel_type, channel_id))
        return channel

    def _check_offered(self, channel_type: ChannelType, channel_id: int) -> None:
        if channel_type is ChannelType.MAIN and self._main is None:
            return
        # A server closes a link for a channel that it does not have without a word; so we look first.
        if not self.main.is_open:
            raise ConnectionLost("the connection has ended") from self.main.closed_by
        if not any((one.type, one.id) == (channel_type, channel_id) for one in self.main.offered):
            raise ChannelNotAvailable(f"the machine offers no channel {channel_type.name.lower()}:{channel_id}")

    async def close_channel(self, channel_type: ChannelType, channel_id: int = 0) -> None:
        """Close a channel, if it is open, in the order that servers survive. It can be opened again.

        Raises:
            LocalProtocolError: It is main, which closes with the connection.

        Cancellation: it closes all the same.
        """
        if channel_type is ChannelType.MAIN:
            raise LocalProtocolError("the main channel closes with the connection")
        if self._keeper is not None:
            self._keeper.forget((channel_type, channel_id))
        channel = self._session.channels.get((channel_type, channel_id))
        if channel is None:
            await trio.lowlevel.checkpoint()
        else:
            await channel.aclose()

    async def disconnect_all(self) -> None:
        """Close every channel, main last. Leaving the block of `open_spice` does this.

        Cancellation: they close all the same, but main perhaps not last.
        """
        if self._keeper is not None:
            self._keeper.stop()
        channels = list(self._session.channels.values())
        for channel in channels:
            if channel is not self._main:
                channel.close_soon()
        for channel in channels:
            if channel is not self._main:
                await channel.wait_closed()
        if self._main is not None:
            await self._main.aclose()

    # --- the machine

    @property
    def name(self) -> str | None:
        """The machine's name, where the server tells it."""
        return self.main.machine_name

    @property
    def uuid(self) -> UUID | None:
        """The machine's UUID, where the server tells it."""
        return self.main.machine_uuid

    @property
    def mouse_mode(self) -> MouseMode:
        """CLIENT: positions are sent; SERVER: motions are."""
        return self._session.mouse_mode

    def statistics(self) -> Mapping[str, ChannelStatistics]:
        """The counters of the channels that are open, by name (`display:0`)."""
        return {channel.name: channel.statistics() for channel in self.channels}

    def relinks(self) -> Mapping[str, int]:
        """How often channels that are kept were linked again, by name."""
        return {} if self._keeper is None else self._keeper.relinks()

    def latencies(self) -> Mapping[str, float]:
        """How long channels that are kept took to give a sign of life when last asked, in seconds, by name."""
        return {} if self._keeper is None else self._keeper.latencies()

    # --- linking

    async def _open(self, channels: Collection[ChannelType]) -> None:
        """Link main, and then the wanted channels, all at once."""
        main = await self.open_channel(ChannelType.MAIN)
        assert isinstance(main, MainChannel)
        if self._keeper is not None:
            await main.wait_offered()
            self._nursery.start_soon(self._keeper.run)
            return
        wanted = [one for one in await main.wait_offered() if one.type in channels and one.type is not ChannelType.MAIN]
        opening = [self._start(one.type, one.id) for one in wanted]
        for channel in opening:
            await channel.wait_open()

    @trio.lowlevel.enable_ki_protection
    async def _leave(self) -> None:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 2 * LEAVE_SECONDS):
            await self.disconnect_all()
        for channel in list(self._session.channels.values()):
            # A channel whose worker thread is still drawing has not ended; main must all the same.
            channel.close_soon()

    def _start(self, channel_type: ChannelType, channel_id: int) -> SpiceChannel:
        """Begin to link a channel; one that is there already is given as it is."""
        key = (channel_type, channel_id)
        channel = self._session.channels.get(key)
        if channel is None:
            self._check_offered(channel_type, channel_id)
            channel = CHANNELS.get(channel_type, MessageChannel)(self._session, channel_type, channel_id)
            legacy = self._legacies.pop(key, None)
            if legacy is not None:
                channel.inherit(legacy)
            self._session.channels[key] = channel
            if isinstance(channel, MainChannel):
                self._main = channel
            self._nursery.start_soon(self._run, channel)
        return channel

    @trio.lowlevel.enable_ki_protection
    async def _run(self, channel: SpiceChannel) -> None:
        await channel.run(self._linker.connect)
        if channel.closed_by is not None or channel.link_timings is None:
            self._legacies[channel.channel_type, channel.channel_id] = channel.leave_legacy()
        if channel is self._main:
            # The server has ended, or ends, the others too.
            for other in list(self._session.channels.values()):
                other.close_soon(channel.closed_by)


@asynccontextmanager
async def open_spice(
    uri: str | SpiceUri | StreamOpener,
    *,
    password: Password = None,
    tls: SpiceTlsConfig | None = None,
    channels: Collection[ChannelType] = DEFAULT_CHANNELS,
    mouse_mode: MouseMode = MouseMode.CLIENT,
    limits: SpiceLimits | None = None,
    relink: ReconnectConfig | bool = False,
) -> AsyncIterator[SpiceVmConnection]:
    """Connect to a machine's SPICE server for the time of the block.

    Args:
        uri: Such as `spice://127.0.0.1:5900`, `spice+tls://host:5901`, `spice://host:5900?tls-port=5901` or
            `spice+unix:///run/vm.sock`. Or an async function that gives a new stream to the server for every channel, such as
            the `open_graphics` of a libvirt domain.
        password: The ticket: a value, a file that holds it, or a function (async or not) that gives it. A file is read, and a
            function called, for every channel that is linked. By default the password in the URI, if any.
        tls: How to verify the server, where TLS is used; by default against the system's certificates and the host's name.
        channels: The types of channels to open, as far as the machine offers them; main is always open.
        mouse_mode: What to ask the server for: CLIENT to send the pointer's position, SERVER to send its motion.
        limits: What the server may make us hold, where the defaults do not fit.
        relink: Whether a channel that is lost is linked again, by these settings or the default ones, while main lives; and
            channels that are silent are asked for a sign of life. When main is lost the connection ends, as it does without:
            `open_spice_manager` connects machines again.

    Returns:
        The connection, every channel linked.

    Raises:
        ConfigError: The URI or the password cannot be meant.
        ConnectFailed: There is no such server; TlsError where it could not be trusted.
        LinkError: The server refused; AuthenticationFailed where the password was wrong or has expired.
        ConnectionLost: The connection ended while it was being made, or main broke the protocol.
        MalformedMessage: The peer does not speak SPICE.

    Cancellation: however the block ends, the machine is left in the order that servers survive: keys and buttons released,
        displays read before they close, main last. This takes a round trip, and never more than a few seconds.
    """
    parsed = SpiceUri.parse(uri) if isinstance(uri, str) else uri
    keeping = None
    if relink is not False:
        names = tuple(dict.fromkeys(one.name.lower() for one in channels if one is not ChannelType.MAIN))
        config = ReconnectConfig() if relink is True else relink
        machine = str(parsed) if isinstance(parsed, SpiceUri) else "given streams"
        keeping = Keeping(machine=machine, channels=ChannelsConfig(open=names), reconnect=config)
    link = Linking(parsed, password, tls or SpiceTlsConfig(), mouse_mode, limits or SpiceLimits())
    async with open_connection(link, channels, keeping) as vm:
        keeper = vm._keeper  # noqa: SLF001 - this is its constructor
        if keeper is not None:
            await keeper.wait_first()
            vm.get_channel(ChannelType.MAIN)
            if keeper.failure is not None:
                raise keeper.failure
        yield vm


@attrs.frozen
class Linking:
    """What it takes to connect to a machine; the arguments of `open_spice`."""

    where: SpiceUri | StreamOpener
    password: Password = attrs.field(default=None, repr=False)
    tls: SpiceTlsConfig = attrs.field(factory=SpiceTlsConfig)
    mouse_mode: MouseMode = MouseMode.CLIENT
    limits: SpiceLimits = attrs.field(factory=SpiceLimits)


@asynccontextmanager
async def open_connection(
    linking: Linking, channels: Collection[ChannelType], keeping: Keeping | None
) -> AsyncIterator[SpiceVmConnection]:
    """Connect for the time of the block.

    Where channels are kept, `keeping` says which; the block begins when main is linked, and channels that fail do not raise.
    """
    if not is_prepared():
        await trio.to_thread.run_sync(prepare)
    session = Session(wanted_mouse_mode=linking.mouse_mode, limits=linking.limits)
    async with open_background() as nursery:
        vm = SpiceVmConnection(Linker(linking.where, session, linking.password, linking.tls), nursery, keeping)
        try:
            await vm._open(channels)  # noqa: SLF001 - this is its constructor
            yield vm
        finally:
            await vm._leave()  # noqa: SLF001
