"""What was published convinces a stranger: every record under its header by every rule, and the chain holds all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.audit import AuditRules, AuditState, audit_record
from contracts.batch import BatchRecord, RemoteRecordError
from contracts.header_rules import header_digest
from contracts.messages import Header
from coordinator.chain_events import HeaderPosted
from simulators.auditors.auditor import Findings
from simulators.world_events import ChainSaid, HeaderSubmitted, RecordPublished, WorldEvent

if TYPE_CHECKING:
    from simulators.world import World


class RecordAuditor:
    """Collects records and headers as they leave, and audits them in order at the end."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._findings = Findings("record")
        self._records: dict[int, bytes] = {}
        self._headers: dict[int, Header] = {}
        self._posted: list[HeaderPosted] = []

    def observe(self, event: WorldEvent) -> None:
        """Records and headers may leave twice, but never in two ways."""
        match event:
            case RecordPublished(interval, record):
                if self._records.setdefault(interval, record) != record:
                    self._findings.add(f"two records of interval {interval}")
            case HeaderSubmitted(header):
                if self._headers.setdefault(header.interval, header) != header:
                    self._findings.add(f"two headers of interval {header.interval}")
            case ChainSaid(HeaderPosted() as posted):
                if not any(known.index == posted.index for known in self._posted):
                    self._posted.append(posted)

    def verdict(self) -> list[str]:
        """Every fault a stranger finds."""
        world = self._world
        rules = AuditRules(world.market.domain, world.market.terms, world.keys)
        state = AuditState()
        for interval, header in sorted(self._headers.items()):
            packed = self._records.get(interval)
            if packed is None:
                self._findings.add(f"header {interval} has no record")
                continue
            try:
                record = BatchRecord.from_bytes(packed)
            except RemoteRecordError as error:
                self._findings.add(f"record {interval}: {error}")
                continue
            for fault in audit_record(record, header, state, rules):
                self._findings.add(f"interval {interval}: {fault}")
        digests = [header_digest(header, world.market.domain) for _, header in sorted(self._headers.items())]
        on_chain = [posted.digest for posted in sorted(self._posted, key=lambda p: p.index)]
        if on_chain != digests[: len(on_chain)]:
            self._findings.add("the headers on the chain are not those that were built, in order")
        return self._findings.texts()
