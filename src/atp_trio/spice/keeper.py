"""Keeps the channels of one SPICE connection: each is linked again alone when it is lost, as long as main lives.

Theory of operation. Every wanted channel has a supervisor, which links it, waits for its end and links it again after the
backoff's delay, under the same connection id. What a channel hands down to its successor (keys that are held, what the server was
asked to prefer) is the channels' business: see `SpiceChannel.inherit`. Those that are required are opened first; the others do
not hold them up.

A silent channel is asked for a sign of life: main and inputs in their own words, the others by knocking at the server's door. One
whose peer was found to be gone may not be gone for the server: that takes it for present still, and resets its successor. Only a
new connection helps then, so main is given up too; likewise where the server does not know the connection any more.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Protocol

import attrs
import trio

from atp_trio.errors import AtpError, ConnectFailed, ConnectionLost, LinkBadConnectionId, NotConnected
from atp_trio.spice.channels import MainChannel, SpiceChannel
from atp_trio.spice.linking import Linker
from atp_trio.spice.messages.link import ChannelType
from atp_trio.supervision.backoff import ReconnectConfig
from atp_trio.supervision.degradation import ChannelsConfig, Verdict, judge, priority
from atp_trio.supervision.heartbeat import Heartbeat, HeartbeatConfig
from atp_trio.supervision.state import Channel, ConnectionEvent, ConnectionState
from atp_trio.supervision.supervisor import Life, Supervisor
from atp_trio.supervision.watch import StateBoard, StateSource

__all__ = ["ChannelKeeper", "Keeping", "channel_name"]

# On these a server speaks first, or at once; so a link that it has accepted and says nothing on is not worth anything yet.
TALKATIVE = frozenset({ChannelType.DISPLAY, ChannelType.INPUTS, ChannelType.CURSOR})

Key = tuple[ChannelType, int]


def channel_name(key: Key) -> str:
    """As people write it: `display:0`."""
    return f"{key[0].name.lower()}:{key[1]}"


@attrs.frozen(kw_only=True)
class Keeping:
    """How the channels of a machine are kept."""

    machine: str
    """The machine's id, by which states name it."""
    channels: ChannelsConfig = attrs.field(factory=ChannelsConfig)
    """Which are opened, and what they are worth."""
    reconnect: ReconnectConfig = attrs.field(factory=ReconnectConfig)
    """When a lost one is linked again."""
    heartbeat: HeartbeatConfig = attrs.field(factory=HeartbeatConfig)
    """When a silent one is asked for a sign of life; a link that takes longer than the interval has failed."""
    board: StateBoard = attrs.field(factory=StateBoard)
    """Where their states are shown."""
    tell: Callable[[Any, Verdict, AtpError | None], None] = lambda _vm, _verdict, _cause: None
    """Called when the machine (its connection) is worth something else, and why."""


class Vm(Protocol):
    """What a keeper needs of the connection."""

    @property
    def main(self) -> MainChannel:
        """The main channel."""

    async def open_channel(self, channel_type: ChannelType, channel_id: int = 0) -> SpiceChannel:
        """Open a channel."""


@attrs.define(eq=False)
class _Kept:
    """A channel that is kept."""

    key: Key
    source: StateSource
    tried: trio.Event = attrs.field(factory=trio.Event)
    """The first attempt is over."""
    is_up: bool = False
    was_silent: bool = False
    """It ended because nothing was heard of the server, which may not know of that."""
    links: int = 0
    failure: AtpError | None = None
    """Why it is down."""
    heartbeat: Heartbeat | None = None
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)


class ChannelKeeper:
    """Keeps the channels of one connection, whose nursery runs it.

    Attributes:
        keeping: How.
    """

    def __init__(self, vm: Vm, linker: Linker, keeping: Keeping) -> None:
        self.keeping = keeping
        self._vm = vm
        self._linker = linker
        self._kept: dict[Key, _Kept] = {}
        self._nursery: trio.Nursery | None = None
        self._scope = trio.CancelScope(shield=True)
        self._first = trio.Event()
        self._verdict: Verdict | None = None
        self._main_heartbeat: Heartbeat | None = None

    # --- for the connection

    async def wait_first(self) -> None:
        """Wait until every channel has been linked, or has failed to be, or main has ended."""
        await self._first.wait()

    @property
    def failure(self) -> AtpError | None:
        """Why one of the channels is down, the most important first; None if all work."""
        by_name = {channel_name(one.key): one for one in self._kept.values() if one.failure is not None}
        names = priority(self.keeping.channels, by_name)
        return by_name[names[0]].failure if names else None

    def check(self, key: Key) -> None:
        """Say why a channel is not open, if it is one that is kept.

        Raises:
            NotConnected: It was lost, or could not be linked, and is linked again.
        """
        kept = self._kept.get(key)
        if kept is not None and not kept.is_up:
            raise NotConnected(f"{kept.source.present}") from kept.failure

    async def wait_up(self, key: Key) -> None:
        """Wait until a channel is open, or will not be: it is not kept, was given up, or main has ended."""
        if key not in self._kept:
            await self._first.wait()  # those that come first are yet to be opened
        while (kept := self._kept.get(key)) is not None and not kept.is_up and self._vm.main.is_open:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._cancel_with_main, nursery.cancel_scope)
                with contextlib.suppress(ConnectionLost):
                    change = await kept.source.wait_state(ConnectionState.CONNECTED, ConnectionState.FAILED)
                    if change.state is ConnectionState.FAILED:
                        nursery.cancel_scope.cancel()
                        return
                nursery.cancel_scope.cancel()

    async def _cancel_with_main(self, scope: trio.CancelScope) -> None:
        await self._vm.main.wait_closed()
        scope.cancel()

    def relinks(self) -> dict[str, int]:
        """How often each channel was linked again."""
        return {channel_name(key): max(kept.links - 1, 0) for key, kept in self._kept.items()}

    def latencies(self) -> dict[str, float]:
        """How long the last answers to a heartbeat took, in seconds, by channel; of those that were asked."""
        beats = {"main:0": self._main_heartbeat} | {channel_name(key): kept.heartbeat for key, kept in self._kept.items()}
        return {name: beat.latency for name, beat in beats.items() if beat is not None and beat.latency is not None}

    def keep(self, key: Key) -> None:
        """Keep this channel from now on."""
        if key in self._kept or self._nursery is None or key[0] is ChannelType.MAIN:
            return
        source = self.keeping.board.add(Channel(self.keeping.machine, channel_name(key)))
        kept = self._kept[key] = _Kept(key, source)
        self._nursery.start_soon(self._supervise, kept)

    def forget(self, key: Key) -> None:
        """Do not keep it any more: it is closed on purpose."""
        kept = self._kept.pop(key, None)
        if kept is not None:
            kept.scope.cancel()
            self._judge()

    def stop(self) -> None:
        """Link no more: the connection is left."""
        self._scope.cancel()

    # --- keeping

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Keep the channels until main has ended, or `stop` is called."""
        main = self._vm.main
        source = self.keeping.board.add(Channel(self.keeping.machine, main.name))
        source.apply(ConnectionEvent.CONNECT)
        source.apply(ConnectionEvent.ESTABLISHED)
        try:
            with self._scope:
                async with trio.open_nursery() as self._nursery:
                    self._nursery.start_soon(self._beat_main, main)
                    self._nursery.start_soon(self._open_all, main)
                    await main.wait_closed()
                    self._scope.cancel()
        finally:
            self._nursery = None
            self._first.set()
            if main.closed_by is None:
                source.apply(ConnectionEvent.CLOSED)
            else:
                source.apply(ConnectionEvent.LOST, cause=main.closed_by)

    @trio.lowlevel.enable_ki_protection
    async def _open_all(self, main: MainChannel) -> None:
        """Open what is wanted and offered: first what is required, then the rest."""
        config = self.keeping.channels
        wanted = [(one.type, one.id) for one in main.offered if one.type.name.lower() in config.open]
        by_name = {channel_name(key): key for key in wanted}
        names = priority(config, by_name)
        required = [name for name in names if name.partition(":")[0] in config.required]
        for wave in (required, [name for name in names if name not in required]):
            await self._open_wave([by_name[name] for name in wave])
            self._judge()
        self._first.set()

    async def _open_wave(self, keys: Iterable[Key]) -> None:
        for key in keys:
            self.keep(key)
        for key in keys:
            if key in self._kept:
                await self._kept[key].tried.wait()

    @trio.lowlevel.enable_ki_protection
    async def _supervise(self, kept: _Kept) -> None:
        try:
            with kept.scope:
                await Supervisor(kept.source, partial(self._serve, kept), self.keeping.reconnect).run()
        finally:
            kept.is_up = False
            kept.tried.set()
        # It was closed on purpose.
        if self._kept.get(kept.key) is kept:
            del self._kept[kept.key]
        kept.source.close()
        self._judge()

    async def _serve(self, kept: _Kept, life: Life) -> None:
        """Link a channel, and watch it until it ends: a session of its supervisor."""
        try:
            await self._link_and_watch(kept, life)
        except AtpError as error:
            # Without the traceback, which would hold the lost channel with its picture.
            kept.failure = error.with_traceback(None)
            raise kept.failure from error.__cause__
        finally:
            kept.is_up = False
            if kept.failure is not None:
                self._tried(kept)

    async def _link_and_watch(self, kept: _Kept, life: Life) -> None:
        channel = await self._link(kept)
        kept.is_up, kept.failure, kept.was_silent = True, None, False
        kept.links += 1
        life.established()
        self._tried(kept)
        await self._watch(kept, channel)
        if channel.closed_by is not None:
            raise channel.closed_by

    def _tried(self, kept: _Kept) -> None:
        kept.tried.set()
        self._judge()

    async def _link(self, kept: _Kept) -> SpiceChannel:
        seconds = self.keeping.heartbeat.interval
        channel: SpiceChannel | None = None
        with trio.move_on_after(seconds):
            channel = await self._open(kept.key)
            if kept.key[0] in TALKATIVE:
                await self._wait_first_message(kept, channel)
            return channel
        if channel is not None:
            channel.lose(ConnectionLost("the server accepted the link and said nothing more"))
        raise ConnectFailed(f"{channel_name(kept.key)}: it could not be linked within {seconds:g} s")

    async def _open(self, key: Key) -> SpiceChannel:
        try:
            return await self._vm.open_channel(*key)
        except LinkBadConnectionId as error:
            lost = ConnectionLost(f"the server does not know this connection any more: {error}")
            lost.__cause__ = error
            self._vm.main.lose(lost)
            raise

    async def _wait_first_message(self, kept: _Kept, channel: SpiceChannel) -> None:
        try:
            await channel.wait_first_message()
        except ConnectionLost as error:
            if kept.was_silent:
                lost = ConnectionLost(
                    f"{channel.name}: the server does not know that it was lost, and resets the one in its place"
                )
                lost.__cause__ = error
                self._vm.main.lose(lost)
            raise channel.closed_by or error from None

    async def _watch(self, kept: _Kept, channel: SpiceChannel) -> None:
        """Wait until the channel has ended, and ask it for a sign of life meanwhile."""
        probe = channel.ask if channel.can_ask else partial(self._linker.knock, channel)
        kept.heartbeat = Heartbeat(self.keeping.heartbeat, probe, lambda: channel.last_heard)
        scope = trio.CancelScope()
        assert self._nursery is not None
        self._nursery.start_soon(self._beat, kept, kept.heartbeat, channel, scope)
        try:
            await channel.wait_closed()
        finally:
            kept.heartbeat = None  # it knows the channel
            scope.cancel()

    @trio.lowlevel.enable_ki_protection
    async def _beat(self, kept: _Kept, heartbeat: Heartbeat, channel: SpiceChannel, scope: trio.CancelScope) -> None:
        with scope:
            try:
                await heartbeat.run()
            except ConnectionLost as gone:
                kept.was_silent = channel.closed_by is None
                channel.lose(gone)

    @trio.lowlevel.enable_ki_protection
    async def _beat_main(self, main: MainChannel) -> None:
        self._main_heartbeat = Heartbeat(self.keeping.heartbeat, main.ask, lambda: main.last_heard)
        try:
            await self._main_heartbeat.run()
        except ConnectionLost as gone:
            main.lose(gone)

    # --- what the machine is worth

    @property
    def verdict(self) -> Verdict:
        """What the machine is worth; channels whose first attempt is not over yet do not count."""
        states = {
            channel_name(key): ConnectionState.CONNECTED if kept.is_up else ConnectionState.DISCONNECTED
            for key, kept in self._kept.items()
            if kept.tried.is_set()
        }
        main = ConnectionState.CONNECTED if self._vm.main.is_open else ConnectionState.DISCONNECTED
        return judge(self.keeping.channels, {"main:0": main} | states)

    def _judge(self) -> None:
        """Tell what the machine is worth, once the required channels have been tried."""
        required = [kept for key, kept in self._kept.items() if key[0].name.lower() in self.keeping.channels.required]
        if not self._vm.main.is_open or not all(kept.tried.is_set() for kept in required):
            return
        verdict = self.verdict
        if verdict != self._verdict:
            self._verdict = verdict
            self.keeping.tell(self._vm, verdict, _cause(verdict, self.failure))


def _cause(verdict: Verdict, failure: AtpError | None) -> AtpError | None:
    """Why a machine is worth less; None if it is not."""
    if verdict.state is ConnectionState.CONNECTED:
        return None
    missing = f", and {', '.join(verdict.missing)} cannot be done without" if verdict.missing else ""
    cause = ConnectionLost(f"{', '.join(verdict.down)} down{missing}: {failure}")
    cause.__cause__ = failure
    return cause
