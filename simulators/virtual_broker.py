"""What we rely on of an MQTT broker, and every way in which it may fail us, without a socket.

    publish → fate (lost? delayed? twice? damaged?) → broker → retained? → subscribers with a matching filter → fate

Only this much is relied on: filters with ``+`` and ``#``, retained messages (an empty payload forgets), the last
will at a lost connection, clean sessions without queues. An arrival is a call in virtual time; ``Fates`` decides what
happens to each hop and is a function of the seed. A subscriber that is offline misses what is published.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Protocol

from simulators.virtual_clock import VirtualClock

Arrival = Callable[[str, bytes], None]


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of one hop: one entry per copy that arrives, as delay and payload."""

    copies: tuple[tuple[int, bytes], ...]


class Fates(Protocol):
    """Decides over hops between a client and the broker."""

    def of(self, client: str, upward: bool, payload: bytes, now_ms: int) -> Fate:
        """The fate of one packet."""


class NoFaults:
    """A perfect network: every packet arrives once, in order, at once."""

    def of(self, client: str, upward: bool, payload: bytes, now_ms: int) -> Fate:  # noqa: ARG002
        """Arrives once, unchanged."""
        return Fate(((0, payload),))


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker publishes for a client that is gone without a word."""

    topic: str
    payload: bytes
    retain: bool = True


@dataclass(slots=True)
class _Session:
    arrival: Arrival
    will: Will | None
    filters: list[str] = field(default_factory=list)
    connection: int = 0
    online: bool = True


@lru_cache(maxsize=65_536)
def matches(pattern: str, topic: str) -> bool:
    """Whether an MQTT filter covers a topic: ``+`` is one level, a last ``#`` all that follow, parents included."""
    wanted, given = pattern.split("/"), topic.split("/")
    if topic.startswith("$") and wanted[0] in ("+", "#"):
        return False
    for place, level in enumerate(wanted):
        if level == "#":
            return place == len(wanted) - 1
        if place >= len(given) or level not in ("+", given[place]):
            return False
    return len(wanted) == len(given)


class VirtualBroker:
    """One broker of one world."""

    def __init__(self, clock: VirtualClock, fates: Fates | None = None) -> None:
        self._clock = clock
        self._fates = fates or NoFaults()
        self._sessions: dict[str, _Session] = {}
        self._retained: dict[str, bytes] = {}
        self._connections = 0
        self.up = True
        self.counters: dict[str, int] = {}

    def _count(self, name: str) -> None:
        self.counters[name] = self.counters.get(name, 0) + 1

    def connect(self, client: str, arrival: Arrival, will: Will | None = None) -> bool:
        """A new clean session; one under the same name is thrown out, its will published. False while down."""
        if not self.up:
            return False
        self.drop(client)
        self._connections += 1
        self._sessions[client] = _Session(arrival, will, connection=self._connections)
        return True

    def subscribe(self, client: str, pattern: str) -> None:
        """Adds a filter and sends the retained messages under it."""
        session = self._sessions[client]
        if pattern not in session.filters:
            session.filters.append(pattern)
        for topic in sorted(self._retained):
            if matches(pattern, topic):
                self._send(client, session, topic, self._retained[topic])

    def disconnect(self, client: str) -> None:
        """A client says goodbye: its will is not published."""
        self._sessions.pop(client, None)

    def drop(self, client: str) -> None:
        """A client is gone without a word: its will is published."""
        session = self._sessions.pop(client, None)
        if session is not None and session.will is not None:
            self._distribute(session.will.topic, session.will.payload, session.will.retain)

    def restart(self) -> None:
        """The broker dies and comes back at once: all sessions are gone, what it retained is forgotten."""
        self._sessions.clear()
        self._retained.clear()
        self._count("restarts")

    def is_connected(self, client: str) -> bool:
        """Whether the broker knows a session of that name."""
        return client in self._sessions

    def publish(self, client: str, topic: str, payload: bytes, retain: bool = False) -> None:
        """A client publishes; what the network does with it, it does."""
        session = self._sessions.get(client)
        if session is None:
            self._count("publish_without_session")
            return
        fate = self._fates.of(client, True, payload, self._clock.now_ms)
        self._note(fate, payload)
        connection = session.connection
        for delay_ms, copy in fate.copies:
            self._clock.after(delay_ms, partial(self._arrive, client, connection, topic, copy, retain))

    def _arrive(self, client: str, connection: int, topic: str, payload: bytes, retain: bool) -> None:
        session = self._sessions.get(client)
        if session is None or session.connection != connection:
            self._count("lost_with_connection")
            return
        self._distribute(topic, payload, retain)

    def _distribute(self, topic: str, payload: bytes, retain: bool) -> None:
        if retain and payload:
            self._retained[topic] = payload
        elif retain:
            self._retained.pop(topic, None)
        for name, session in list(self._sessions.items()):
            if any(matches(pattern, topic) for pattern in session.filters):
                self._send(name, session, topic, payload)

    def _send(self, name: str, session: _Session, topic: str, payload: bytes) -> None:
        fate = self._fates.of(name, False, payload, self._clock.now_ms)
        self._note(fate, payload)
        for delay_ms, copy in fate.copies:
            self._clock.after(delay_ms, partial(self._hand_over, name, session, topic, copy))

    def _hand_over(self, name: str, session: _Session, topic: str, payload: bytes) -> None:
        if self._sessions.get(name) is not session:
            self._count("lost_with_connection")
            return
        self._count("delivered")
        session.arrival(topic, payload)

    def _note(self, fate: Fate, payload: bytes) -> None:
        if not fate.copies:
            self._count("lost")
        if len(fate.copies) > 1:
            self._count("duplicated")
        if any(copy != payload for _, copy in fate.copies):
            self._count("damaged")
