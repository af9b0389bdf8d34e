"""The display channel of the embedded server: the first picture, then the scene, as far as the client's window lets it."""

from __future__ import annotations

from typing import ClassVar, Final

import trio

from atp_trio.spice.channels.outbox import COALESCE
from atp_trio.spice.messages import display
from atp_trio.spice.messages.display import DisplayCap, Head, SurfaceFlag, SurfaceFormat
from atp_trio.spice.wire.kind import Buffer
from atp_trio.testing.server.canvas import Canvas
from atp_trio.testing.server.channel import ServerChannel
from atp_trio.testing.server.picture import DRAW_COPY
from atp_trio.testing.server.scenes import Scene

# So many updates are drawn before others get their turn.
BATCH: Final = 32
# A scene that could not keep its rate for longer than this, in seconds, does not make up for it.
MAX_LAG: Final = 0.1


class DisplayChannel(ServerChannel):
    """One display, which watches its canvas from INIT on."""

    caps: ClassVar[frozenset[int]] = frozenset({DisplayCap.MONITORS_CONFIG})

    def _begin(self) -> None:
        self._is_initialised = False
        self._unsent = 0
        self._handlers[display.Init] = self._init
        if self.server.options.ack_window:
            self.core.announce_window(self.server.options.ack_window)

    @property
    def _canvas(self) -> Canvas:
        return self.machine.canvases[self.linked.channel_id]

    @property
    def _scene(self) -> Scene:
        return self.machine.scenes[self.linked.channel_id]

    def _init(self, _: display.Init) -> None:
        canvas = self._canvas
        self.core.send(display.InvalAllPalettes())
        self.core.send(
            display.SurfaceCreate(
                surface_id=0,
                width=canvas.width,
                height=canvas.height,
                format=SurfaceFormat.FMT_32_xRGB,
                flags=SurfaceFlag.PRIMARY,
            )
        )
        whole = canvas.whole()
        self.core.send_body(DRAW_COPY, whole.head(0, 0), whole.data)
        if DisplayCap.MONITORS_CONFIG in self.linked.client_caps:
            head = Head(0, 0, canvas.width, canvas.height, 0, 0)
            self.core.send(display.MonitorsConfig(max_allowed=1, heads=(head,)))
        self.core.send(display.Mark())
        canvas.viewer = self
        self._is_initialised = True

    def _end(self) -> None:
        if self._canvas.viewer is self:
            self._canvas.viewer = None
            self._canvas.draw_posted()

    # --- a viewer of the canvas

    def draw(self, number: int, *pieces: Buffer) -> None:
        """Something was drawn."""
        self.core.send_body(number, *pieces)
        self._unsent += sum(map(len, pieces))
        if self._unsent >= COALESCE:
            self._unsent = 0
            self.flush()

    def posted(self) -> None:
        """There is a fill to be drawn: at once, if the client takes more."""
        if self._may_draw:
            self._canvas.draw_posted()
            self.flush()
        else:
            self._changed.unpark_all()

    @property
    def _may_draw(self) -> bool:
        return self.core.send_window.is_open and self.outbox.has_room

    # --- the scene

    @property
    def _rests(self) -> bool:
        return self._scene.is_still or self.machine.is_paused

    async def _work(self) -> None:
        await self._until(lambda: self._is_initialised)
        rate = self.server.options.rate
        due = trio.current_time()
        while True:
            await self._until(lambda: self.core.send_window.is_open)
            await self.outbox.wait_room()
            self._canvas.draw_posted()
            if self._rests:
                self.flush()
                await self._until(lambda: self._canvas.has_posted or not self._rests)
                continue
            if not rate:
                self._draw_steps(BATCH)
                continue
            now = trio.current_time()
            due = max(due, now - MAX_LAG)
            due += self._draw_steps(min(BATCH, int((now - due) * rate) + 1)) / rate if due <= now else 0
            await trio.sleep_until(due)

    def _draw_steps(self, count: int) -> int:
        """Draw up to so many updates; gives how many the client took."""
        drawn = 0
        while drawn < count and self._may_draw:
            self._scene.step()
            drawn += 1
        self.flush()
        self.server.changed()
        return drawn
