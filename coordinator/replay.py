"""Rebuilds every table from the inbox: the proof that the inbox is the only original."""

from __future__ import annotations

from contracts.signature import Signer
from coordinator.chain_events import open_event
from coordinator.config import MarketConfig
from coordinator.coordinator import Coordinator
from coordinator.store.store import InboxEntry, Store


def replay(original: Store, market: MarketConfig, sign: Signer) -> Coordinator:
    """A coordinator over a fresh store in memory that has seen exactly the inputs of ``original``."""
    rebuilt = Coordinator(market, Store(), sign)
    for entry in original.inputs():
        feed(rebuilt, entry)
    return rebuilt


def feed(coordinator: Coordinator, entry: InboxEntry) -> None:
    """Gives one inbox entry to ``coordinator`` as it came. Raises ValueError for an unknown kind."""
    now_ms = entry.at_ms
    match entry.kind:
        case "message":
            coordinator.receive(entry.topic, entry.payload, now_ms)
        case "deadline":
            coordinator.on_deadline(now_ms)
        case "chain":
            coordinator.on_chain_event(open_event(entry.payload), now_ms)
        case "quote":
            coordinator.on_quote(entry.topic, int(entry.payload), now_ms)
        case "enrol":
            coordinator.enrol(int(entry.payload), entry.topic, now_ms)
        case "element":
            coordinator.enrol_element(int(entry.topic), entry.payload, now_ms)
        case "device":
            account, device = (int(part) for part in entry.topic.split("/"))
            lowest_w, highest_w = (int(part) for part in entry.payload.decode().split("/"))
            coordinator.enrol_device(account, device, lowest_w, highest_w, now_ms)
        case "balance":
            coordinator.balance_grid(now_ms)
        case _:
            raise ValueError(f"inbox entry {entry.id} has the unknown kind {entry.kind!r}")


def first_difference(original: Store, rebuilt: Store) -> str | None:
    """Where the derived tables differ, in words; None when they are equal row for row."""
    before, after = original.derived_tables(), rebuilt.derived_tables()
    for name in sorted({*before, *after}):
        if before.get(name) != after.get(name):
            missing = [row for row in before.get(name, []) if row not in after.get(name, [])]
            extra = [row for row in after.get(name, []) if row not in before.get(name, [])]
            return f"table {name}: only in the original {missing[:1]}, only in the replay {extra[:1]}"
    return None
