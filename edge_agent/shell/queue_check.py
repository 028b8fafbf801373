"""The queue from outside: what waits, as lines of JSON, and whether every stored frame is what this home has signed."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

from contracts.eip712 import Message
from contracts.envelope import Envelope, open_envelope
from contracts.messages import GapRecord, SettlementReading, TelemetryBatch
from contracts.signature import address_of
from contracts.telemetry import RemoteColumnsError, open_batch
from edge_agent.config import AgentConfig
from edge_agent.delivery.frame import Frame, FrameKind, frame_for
from edge_agent.delivery.outbox import read_queue
from edge_agent.shell.key_store import home_key

Stream = tuple[str, int, int]
"""Name of a stream, meter, epoch."""


def queue_rows(store: Path) -> list[tuple[str, int, int]]:
    """Kind, number of frames and bytes of all that waits. Raises RemoteStoreError."""
    sizes: dict[FrameKind, list[int]] = defaultdict(list)
    for frame in read_queue(store):
        sizes[frame.kind].append(len(frame.payload))
    return [(kind.name.lower(), len(found), sum(found)) for kind, found in sorted(sizes.items())]


def queue_lines(store: Path) -> Iterator[str]:
    """Every waiting message as JSON. Raises RemoteStoreError."""
    for frame in read_queue(store):
        opened = open_envelope(frame.payload)
        if isinstance(opened, Envelope):
            kind = type(opened.message).__name__
            yield json.dumps({"kind": kind, **opened.message.to_json(), "signature": "0x" + opened.signature.hex()})


def verify_queue(config: AgentConfig) -> tuple[list[str], list[str]]:
    """What waits of each stream, and every fault of it; needs the key to know our own signature.

    Raises RemoteStoreError and KeyFileError.
    """
    present, key = home_key(config, int(time.time()))
    config, address = present, address_of(key)
    faults: list[str] = []
    streams: dict[Stream, list[tuple[Frame, Message]]] = defaultdict(list)
    for frame in read_queue(config.store):
        message, fault = _opened(frame, config, address)
        if fault is not None or message is None:
            faults.append(f"frame {frame.id} ({frame.kind.name.lower()}): {fault}")
        elif frame.kind != FrameKind.BID:
            streams[frame.kind.stream.name.lower(), frame.meter, frame.epoch].append((frame, message))
    for stream in streams.values():
        stream.sort(key=lambda pair: pair[0].first)
    for name, stream in sorted(streams.items()):
        faults += [f"{_title(name)}: {fault}" for fault in _stream_faults(stream)]
    for meter in sorted({meter for _, meter, _ in streams}):
        faults += [f"meter {meter}: {fault}" for fault in _register_faults(streams, meter)]
    return [f"{_title(name)}: {_ranges(stream)}" for name, stream in sorted(streams.items())], faults


def _title(stream: Stream) -> str:
    name, meter, epoch = stream
    return f"{name} of meter {meter}, epoch {epoch}"


def _opened(frame: Frame, config: AgentConfig, address: bytes) -> tuple[Message | None, str | None]:
    opened = open_envelope(frame.payload)
    if not isinstance(opened, Envelope):
        return None, f"not an envelope: {opened.value}"
    message = opened.message
    if opened.signature_refusal(config.chain.domain, address) is not None:
        return None, "not signed by this home's key"
    same = frame_for(message, frame.payload)
    if same is None or same.row != frame.row:
        return None, "its row says something else than its message"
    if getattr(message, "account", config.home.account) != config.home.account:
        return None, "of another account"
    if isinstance(message, TelemetryBatch):
        try:
            open_batch(message, opened.attachment)
        except RemoteColumnsError as error:
            return None, str(error)
    return message, None


def _stream_faults(stream: list[tuple[Frame, Message]]) -> Iterator[str]:
    """Sequences that are there twice, and a chain of telemetry that breaks between neighbours."""
    for (frame, message), (following, later) in pairwise(stream):
        if following.first <= frame.last:
            yield f"{following.first} is there twice"
        if not isinstance(message, TelemetryBatch) or not isinstance(later, TelemetryBatch):
            continue
        if following.first == frame.last + 1 and later.previous_head != message.head:
            yield f"the chain breaks at {following.first}"


def _register_faults(streams: dict[Stream, list[tuple[Frame, Message]]], meter: int) -> Iterator[str]:
    """Registers of settlement readings that step back, over all epochs."""
    readings = [
        message
        for name, stream in sorted(streams.items())
        if name[0] == "settlement" and name[1] == meter
        for _, message in stream
        if isinstance(message, SettlementReading)
    ]
    for before, after in pairwise(readings):
        if after.import_wh < before.import_wh or after.export_wh < before.export_wh:
            yield f"a register steps back at epoch {after.epoch}, sequence {after.sequence}"


def _ranges(stream: Iterable[tuple[Frame, Message]]) -> str:
    """Sequences that wait, neighbours joined; what is between was acknowledged or never used. Gaps in brackets."""
    joined: list[tuple[int, int, bool]] = []
    for frame, message in stream:
        is_gap = isinstance(message, GapRecord)
        if joined and joined[-1][1] + 1 == frame.first and joined[-1][2] == is_gap:
            joined[-1] = (joined[-1][0], frame.last, is_gap)
        else:
            joined.append((frame.first, frame.last, is_gap))
    texts = [f"{first}" if first == last else f"{first}…{last}" for first, last, _ in joined]
    return ", ".join(f"[{text}]" if is_gap else text for text, (_, _, is_gap) in zip(texts, joined, strict=True))
