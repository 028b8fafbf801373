"""Judges a played day from public evidence alone: the chain's headers and the published records.

    evidence (headers, records, keys)  →  every rule of ``contracts.audit``  →  statements of every account
    statements ↔ the coordinator's own · registers ↔ the physics · headers ↔ final on chain · store ↔ its replay

The judge recomputes; it asks the coordinator nothing. What the coordinator says is compared with the result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from contracts.audit import AuditRules, AuditState, ForcedOrder, audit_record
from contracts.batch import BatchRecord, RemoteRecordError
from contracts.eip712 import Domain, keccak
from contracts.header_rules import Terms
from contracts.leaves import MeterLeaf, settlement_delta_nano
from contracts.messages import SUPPLIER, Header
from contracts.meter_rules import NO_READING
from contracts.units import amount_nano

FAULTS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class ChainHeader:
    """A header as the chain holds it."""

    header: Header
    index: int
    digest: bytes
    posted_at_s: int
    gas: int
    final: bool


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that anybody can see: the chain's headers in order, the records by interval, the accounts' keys.

    ``forced`` are the orders placed on chain, by account and version.
    """

    domain: Domain
    terms: Terms
    headers: Sequence[ChainHeader]
    records: Mapping[int, bytes]
    keys: Mapping[int, bytes]
    forced: Mapping[tuple[int, int], ForcedOrder]
    final_balances: bytes


@dataclass(frozen=True, slots=True)
class Verdict:
    """One auditor's answer. No faults: it agrees."""

    auditor: str
    checked: str
    faults: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        """Whether nothing was found."""
        return not self.faults


@dataclass(slots=True)
class AccountBill:
    """One account over the day, from the records. Energies in Wh, money in nano-currency (gains positive)."""

    metered_import_wh: int = 0
    metered_export_wh: int = 0
    bought_wh: int = 0
    sold_wh: int = 0
    supplier_import_wh: int = 0
    supplier_export_wh: int = 0
    result_nano: int = 0
    alone_nano: int = 0


@dataclass(slots=True)
class Recomputed:
    """What the judge computed from the evidence."""

    bills: dict[int, AccountBill] = field(default_factory=dict)
    spot_prices: dict[int, int] = field(default_factory=dict)
    forward_prices: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    registers: dict[tuple[int, int], tuple[int, int, bytes]] = field(default_factory=dict)
    balances: dict[int, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    signatures: int = 0
    auctions: int = 0


def recompute(evidence: Evidence, first_interval: int, last_interval: int) -> Recomputed:
    """Audits every header in order and adds up the bills of the settled intervals from first to last."""
    found, state = Recomputed(), AuditState()
    rules = AuditRules(evidence.domain, evidence.terms, evidence.keys, evidence.forced)
    for posted in evidence.headers:
        header = posted.header
        raw = evidence.records.get(header.interval)
        if raw is None or keccak(raw) != header.data_hash:
            found.faults.append(f"header {header.interval}: no record with the hash that was posted")
            continue
        try:
            record = BatchRecord.from_bytes(raw)
        except RemoteRecordError as error:
            found.faults.append(f"header {header.interval}: {error}")
            continue
        before = _registers(state)
        faults = audit_record(record, header, state, rules)
        found.faults += [f"header {header.interval}: {fault}" for fault in faults]
        found.signatures += sum(map(bool, record.readings)) + sum(
            bool(s) for a in record.auctions for s in a.signatures
        )
        found.auctions += len(record.auctions)
        _note(found, record, header, before, evidence.terms.grace, (first_interval, last_interval))
    if state.tip is not None:
        found.balances = {account: leaf.cumulative_nano for account, leaf in state.tip.balances.items()}
    return found


def _registers(state: AuditState) -> dict[int, tuple[int, int]]:
    """Import and export register of every account that was read, after the last audited header."""
    leaves = state.tip.meters if state.tip else {}
    return {
        account: (leaf.import_register_wh, leaf.export_register_wh)
        for account, leaf in leaves.items()
        if leaf.reading_hash != NO_READING
    }


def _note(
    found: Recomputed,
    record: BatchRecord,
    header: Header,
    before: Mapping[int, tuple[int, int]],
    grace: int,
    span: tuple[int, int],
) -> None:
    settled = header.interval - grace
    for auction in record.auctions[1:]:
        if auction.auction.volume_wh:
            product = auction.auction.product // 1024
            found.forward_prices.setdefault(product, []).append((auction.auction.price, auction.auction.volume_wh))
    for leaf, reading in zip(record.meters, record.readings, strict=False):
        if reading:
            registers = (leaf.import_register_wh, leaf.export_register_wh, reading)
            found.registers[leaf.account, settled] = registers
    if not span[0] <= settled <= span[1]:
        return
    found.spot_prices[settled] = header.spot_price
    fills = {slot.account: slot.fill_wh for slot in record.auctions[0].slots}
    for leaf in record.meters:
        bill = found.bills.setdefault(leaf.account, AccountBill())
        _add(bill, leaf, fills.get(leaf.account, 0), before.get(leaf.account), header)


def _add(bill: AccountBill, leaf: MeterLeaf, fill_wh: int, before: tuple[int, int] | None, header: Header) -> None:
    net_wh = leaf.deviation_wh + leaf.contracted_wh + leaf.ordered_wh
    if before is not None:
        bill.metered_import_wh += leaf.import_register_wh - before[0]
        bill.metered_export_wh += leaf.export_register_wh - before[1]
    rest_wh = abs(leaf.deviation_wh) - fill_wh
    short = leaf.deviation_wh >= 0
    bill.bought_wh += max(leaf.contracted_wh, 0) + (fill_wh if short else 0)
    bill.sold_wh += max(-leaf.contracted_wh, 0) + (0 if short else fill_wh)
    bill.supplier_import_wh += rest_wh if short else 0
    bill.supplier_export_wh += 0 if short else rest_wh
    tariffs = (header.tariff_import, header.tariff_export)
    bill.result_nano += settlement_delta_nano(leaf, fill_wh, header.spot_price, *tariffs)
    bill.alone_nano -= amount_nano(tariffs[0] if net_wh >= 0 else tariffs[1], net_wh)


def record_verdict(evidence: Evidence, found: Recomputed) -> Verdict:
    """Every rule over every header, auction, slot, signature, meter and balance."""
    checked = f"{len(evidence.headers)} headers, {found.auctions} auctions, {found.signatures} signatures"
    return Verdict("public record", checked, tuple(found.faults))


def chain_verdict(evidence: Evidence, first_interval: int, last_interval: int) -> Verdict:
    """All headers of the day are on the chain, in one unbroken row, and final."""
    faults = []
    intervals = [h.header.interval for h in evidence.headers]
    if intervals != list(range(intervals[0], intervals[0] + len(intervals))) if intervals else True:
        faults.append("the headers are not one unbroken row of intervals")
    needed = set(range(first_interval + evidence.terms.grace, last_interval + evidence.terms.grace + 1))
    if missing := sorted(needed - set(intervals)):
        faults.append(f"{len(missing)} headers are missing, the first of interval {missing[0]}")
    if pending := [h.header.interval for h in evidence.headers if not h.final and h.header.interval in needed]:
        faults.append(f"{len(pending)} headers are not final, the first of interval {pending[0]}")
    finals = [h for h in evidence.headers if h.final]
    if finals and finals[-1].header.balances_root != evidence.final_balances:
        faults.append("the contract pays out by other balances than the last final header's")
    return Verdict("chain", f"{len(finals)} of {len(intervals)} headers final", tuple(faults))


def money_verdict(found: Recomputed, coordinator_bills: Mapping[int, int]) -> Verdict:
    """The day's results sum to zero with the supplier's, and are what the coordinator tells its homes."""
    faults = []
    if sum(found.balances.values()) != 0:
        faults.append(f"all balances sum to {sum(found.balances.values())}, not to zero")
    for account, bill in sorted(found.bills.items()):
        said = coordinator_bills.get(account)
        if account != SUPPLIER and said != bill.result_nano:
            faults.append(f"account {account}: recomputed {bill.result_nano} nano, the coordinator says {said}")
    return Verdict("money", f"{len(found.bills)} bills to the last nano, sum zero", tuple(faults))


LATE_SHARE_LIMIT = 20
"""One reading in twenty may be carried into a later interval: its energy is not lost, only settled later."""


def liveness_verdict(found: Recomputed, accounts: Sequence[int], first_interval: int, last_interval: int) -> Verdict:
    """Every home's day ends with a settled reading, and hardly any reading missed its own interval."""
    span = range(first_interval, last_interval + 1)
    missing = [(a, i) for a in accounts for i in span if (a, i) not in found.registers]
    faults = [f"account {a}: the day does not end with a reading" for a, i in missing if i == last_interval]
    if len(missing) * LATE_SHARE_LIMIT > len(accounts) * len(span):
        faults.append(f"{len(missing)} readings missed their interval, the first account {missing[0][0]}'s")
    in_time = len(accounts) * len(span) - len(missing)
    checked = f"{in_time} of {len(accounts) * len(span)} readings settled in their own interval"
    return Verdict("liveness", checked, tuple(faults))


@dataclass(frozen=True, slots=True)
class TrueSpan:
    """What the physics' registers were shortly before and after a reading's time: (import, export) in Wh."""

    before: tuple[int, int]
    after: tuple[int, int]


def energy_verdict(found: Recomputed, truth: Mapping[tuple[int, int], TrueSpan], step_wh: Mapping[int, int]) -> Verdict:
    """Settled registers lie between the physics' at both ends of the reading's time, give or take the meter's step."""
    faults = []
    for key, span in sorted(truth.items()):
        step = step_wh[key[0]]
        for place, name in enumerate(("import", "export")):
            value = int(found.registers[key][place])
            if not span.before[place] - step <= value <= span.after[place] + step:
                expected = f"{span.before[place]} to {span.after[place]}"
                faults.append(f"account {key[0]}, interval {key[1]}: {name} {value} Wh, physics {expected} Wh")
    return Verdict("energy", f"{len(truth)} register pairs against the physics", tuple(faults))
