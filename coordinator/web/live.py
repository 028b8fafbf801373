"""Live values over one WebSocket a tab: topics multiplexed, frames serialised once, slow tabs lose the oldest.

    client → {"subscribe": ["grid", "homes"]}          server → {"topic": "grid", "at_ms": …, "value": {…}}

After a commit the topics that somebody watches are read again, at most four times a second, and sent if changed.
A new subscriber gets the present value at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter, WebSocket, WebSocketDisconnect

from contracts.interval import interval_of
from coordinator.store.store import Store
from coordinator.web import views
from coordinator.web.context import WebContext

router = APIRouter()

CLIENT_LIMIT = 500
"""Tabs at once; each holds a socket and at most ``FRAMES_KEPT`` frames."""
FRAMES_KEPT = 32
"""Eight seconds of one topic at the highest rate; a slower tab sees the newest values, not all of them."""
REQUEST_LIMIT_BYTES = 1_024
PERIOD_S = 0.25
QUIET_PERIOD_S = 2.0
"""Ages and freshness move without a commit: watched topics are read again at least this often."""
LIST_LENGTH = 12

Reader = Callable[[WebContext, Store], Any]


def _curve(context: WebContext, store: Store) -> Any:
    until = interval_of(context.now_s)
    return views.power_curve(store, until - views.DAY_INTERVALS, until)


def _alarms(context: WebContext, _: Store) -> Any:
    latest = list(context.runtime.alarms.recent)[-LIST_LENGTH:]
    return [{"at_s": a.at_s, "code": a.code, "text": a.text} for a in reversed(latest)]


TOPICS: dict[str, Reader] = {
    "grid": lambda context, store: views.grid_status(store, context.runtime.market, context.now_s),
    "curve": _curve,
    "homes": lambda context, store: views.homes(store, context.now_s),
    "auctions": lambda _, store: [views.auction_document(r) for r in views.auctions(store, LIST_LENGTH, None, None)],
    "headers": lambda _, store: [views.header_document(r) for r in views.headers(store, LIST_LENGTH, None)],
    "alarms": _alarms,
}
"""What can be watched, and how it is read."""


@dataclass(eq=False)
class Tab:
    """One client: what it watches and the frames on their way to it."""

    topics: set[str] = field(default_factory=set)
    frames: deque[str] = field(default_factory=lambda: deque(maxlen=FRAMES_KEPT))
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def push(self, frame: str) -> bool:
        """Queues a frame; False when an older one had to go."""
        room = len(self.frames) < FRAMES_KEPT
        self.frames.append(frame)
        self.arrived.set()
        return room


class LiveHub:
    """Reads watched topics and fans them out, as long as somebody watches."""

    def __init__(self, context: WebContext) -> None:
        self._context = context
        self._tabs: set[Tab] = set()
        self._changed = asyncio.Event()
        self._last: dict[str, str] = {}
        self._task: asyncio.Task[None] | None = None

    def touch(self) -> None:
        """Something was committed."""
        self._changed.set()

    def join(self, tab: Tab) -> bool:
        """Adds a tab; False when there are too many."""
        if len(self._tabs) >= CLIENT_LIMIT:
            return False
        self._tabs.add(tab)
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="live values")
        self._context.counters["websocket_opened"] += 1
        return True

    def leave(self, tab: Tab) -> None:
        """Removes a tab; after the last one nothing is read any more."""
        self._tabs.discard(tab)
        if not self._tabs and self._task is not None:
            self._task.cancel()
            self._task = None

    async def subscribe(self, tab: Tab, topics: set[str]) -> None:
        """Sets what a tab watches and sends the present values of what is new to it."""
        fresh = topics - tab.topics
        tab.topics = topics
        for topic, frame in (await asyncio.to_thread(self._read, fresh)).items():
            tab.push(self._framed(topic, frame))

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), QUIET_PERIOD_S)
            self._changed.clear()
            watched = set().union(*(tab.topics for tab in self._tabs))
            for topic, value in (await asyncio.to_thread(self._read, watched)).items():
                if self._last.get(topic) != value:
                    self._last[topic] = value
                    self._send(topic, self._framed(topic, value))
            await asyncio.sleep(PERIOD_S)

    def _send(self, topic: str, frame: str) -> None:
        for tab in self._tabs:
            if topic in tab.topics and not tab.push(frame):
                self._context.counters["websocket_frames_dropped"] += 1

    def _read(self, topics: set[str]) -> dict[str, str]:
        store = self._context.stores.get()
        return {
            topic: json.dumps(TOPICS[topic](self._context, store), separators=(",", ":")) for topic in sorted(topics)
        }

    def _framed(self, topic: str, value: str) -> str:
        return f'{{"topic":"{topic}","at_ms":{self._context.now_ms},"value":{value}}}'


@router.websocket("/api/v1/ws")
async def live(socket: WebSocket) -> None:
    """One tab, from open to close."""
    context: WebContext = socket.app.state.context
    hub: LiveHub = socket.app.state.hub
    tab = Tab()
    if not context.open_reads:
        await socket.close(1008, "reading is not open here")
        return
    if not hub.join(tab):
        await socket.close(1013, "too many clients")
        return
    await socket.accept()
    sender = asyncio.create_task(_send_frames(socket, tab))
    try:
        while True:
            topics = _requested(await socket.receive_text())
            if topics is None:
                await socket.close(1003, f'send {{"subscribe": [topics]}} with topics of {sorted(TOPICS)}')
                return
            await hub.subscribe(tab, topics)
    except (WebSocketDisconnect, KeyError, RuntimeError):
        pass  # closed by the other side, or a binary frame, which is none of ours
    finally:
        hub.leave(tab)
        sender.cancel()
        await asyncio.gather(sender, return_exceptions=True)


def _requested(text: str) -> set[str] | None:
    if len(text) > REQUEST_LIMIT_BYTES:
        return None
    try:
        wanted = json.loads(text)["subscribe"]
        topics = set(wanted)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return topics if isinstance(wanted, list) and topics <= set(TOPICS) else None


async def _send_frames(socket: WebSocket, tab: Tab) -> None:
    while True:
        await tab.arrived.wait()
        tab.arrived.clear()
        while tab.frames:
            await socket.send_text(tab.frames.popleft())
