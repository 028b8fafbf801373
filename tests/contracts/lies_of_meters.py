"""Lies in what an account metered, had contracted, was settled and still owes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from contracts.codes import Side
from contracts.commitments import Commitment
from contracts.envelope import Envelope, open_envelope, seal
from contracts.evidence import Lie
from contracts.interval import Product, find_product
from contracts.leaves import BalanceLeaf, MeterLeaf, Slot, reading_commitment
from contracts.messages import SUPPLIER, SettlementReading
from contracts.meter_rules import NO_READING
from contracts.round_rules import is_closed
from tests.contracts.local_chain import home_signer
from tests.contracts.retelling import (
    Scene,
    Told,
    retold,
    with_balance,
    with_list,
    with_meter,
    with_slot,
    without_meter,
    without_slot,
)

Maker = Callable[[Scene], Iterator[Told]]


def reading_lie(
    change: Callable[[Scene, SettlementReading], SettlementReading], signer: Callable[[int], int], fault: int
) -> Maker:
    """A leaf over another reading, its registers and deviation as that reading has them."""

    def tell(scene: Scene) -> Iterator[Told]:
        for leaf, packed in zip(scene.record.meters, scene.record.readings, strict=True):
            envelope = open_envelope(packed)
            if not isinstance(envelope, Envelope) or not isinstance(envelope.message, SettlementReading):
                continue
            reading = change(scene, envelope.message)
            forged = seal(reading, scene.history.market.domain, home_signer(signer(leaf.account)))
            committed = reading_commitment(reading.struct_hash(), forged.signature)
            lying = moved(scene, replace(leaf, reading_hash=committed), reading.import_wh, reading.export_wh)
            yield Told(retold(scene, with_meter(scene.record, lying, forged.pack())), Lie.READING, fault)

    return tell


def moved(scene: Scene, leaf: MeterLeaf, import_wh: int, export_wh: int) -> MeterLeaf:
    """The leaf with other registers, its deviation made right."""
    before = scene.before.meters.get(leaf.account) if scene.before else None
    was_read = before is not None and before.reading_hash != NO_READING
    gained = (import_wh - leaf.import_register_wh) - (export_wh - leaf.export_register_wh)
    deviation = leaf.deviation_wh + (gained if was_read else 0)
    return replace(leaf, import_register_wh=import_wh, export_register_wh=export_wh, deviation_wh=deviation)


def forged_registers(scene: Scene) -> Iterator[Told]:
    """The reading is the home's, the registers are not the reading's."""
    for leaf, packed in zip(scene.record.meters, scene.record.readings, strict=True):
        if packed:
            lying = moved(scene, leaf, leaf.import_register_wh + 100, leaf.export_register_wh)
            yield Told(retold(scene, with_meter(scene.record, lying)), Lie.READING, 3)


def pairs(scene: Scene) -> Iterator[tuple[MeterLeaf, MeterLeaf | None]]:
    """Every meter leaf with the one before."""
    for leaf in scene.record.meters:
        yield leaf, scene.before.meters.get(leaf.account) if scene.before else None


def was_read(leaf: MeterLeaf | None) -> bool:
    return leaf is not None and leaf.reading_hash != NO_READING


def vanished(scene: Scene) -> Iterator[Told]:
    for leaf, before in pairs(scene):
        if was_read(before):
            yield Told(retold(scene, without_meter(scene.record, leaf.account)), Lie.REGISTER, 1)


def unread(scene: Scene) -> Iterator[Told]:
    for leaf, before in pairs(scene):
        if was_read(before):
            lying = replace(leaf, reading_hash=NO_READING)
            yield Told(retold(scene, with_meter(scene.record, lying, b"")), Lie.REGISTER, 1)


def moved_alone(scene: Scene) -> Iterator[Told]:
    """Registers move by an estimate while the meter is silent; also before it was ever read."""
    for leaf, before in pairs(scene):
        if leaf.reading_hash == (before.reading_hash if before else NO_READING):
            lying = moved(scene, leaf, leaf.import_register_wh + 50, leaf.export_register_wh)
            yield Told(retold(scene, with_meter(scene.record, lying)), Lie.REGISTER, 2)


def ran_backwards(scene: Scene) -> Iterator[Told]:
    """An old reading of the home's comes back."""
    for leaf, before in pairs(scene):
        if before is None or not was_read(before) or not before.import_register_wh:
            continue
        registers = (before.import_register_wh - 1, before.export_register_wh)
        old = SettlementReading(leaf.account, 0, 1, 0, scene.settled - 1, 1, *registers, 0, 2, bytes(32), bytes(32))
        envelope = seal(old, scene.history.market.domain, home_signer(leaf.account))
        committed = reading_commitment(old.struct_hash(), envelope.signature)
        lying = moved(scene, replace(leaf, reading_hash=committed), *registers)
        yield Told(retold(scene, with_meter(scene.record, lying, envelope.pack())), Lie.REGISTER, 3)


def meter_lie(changes: Callable[[MeterLeaf], dict[str, Any]], reason: Lie, fault: int) -> Maker:
    """Fields of every meter leaf changed."""

    def tell(scene: Scene) -> Iterator[Told]:
        for leaf in scene.record.meters:
            lying = replace(leaf, **changes(leaf))
            if lying != leaf:
                yield Told(retold(scene, with_meter(scene.record, lying)), reason, fault)

    return tell


def contracted_dropped(scene: Scene) -> Iterator[Told]:
    for leaf in scene.record.meters:
        if any(any(held) for held in leaf.contracted.values()):
            yield Told(retold(scene, without_meter(scene.record, leaf.account)), Lie.CONTRACTED, 1)


def spot_lie(change: Callable[[Slot], dict[str, Any]]) -> Maker:
    """A spot slot that does not trade the deviation."""

    def tell(scene: Scene) -> Iterator[Told]:
        for slot in scene.record.auctions[0].slots:
            lying = replace(slot, **change(slot))
            yield Told(retold(scene, with_slot(scene.record, 0, lying)), Lie.BALANCE, 1)

    return tell


def deviation_untraded(scene: Scene) -> Iterator[Told]:
    for slot in scene.record.auctions[0].slots:
        yield Told(retold(scene, without_slot(scene.record, 0, slot.account)), Lie.BALANCE, 1)


def slot_without_meter(scene: Scene) -> Iterator[Told]:
    for slot in scene.record.auctions[0].slots:
        yield Told(retold(scene, without_meter(scene.record, slot.account)), Lie.BALANCE, 1)


def without_spot_round(scene: Scene) -> Iterator[Told]:
    if any(leaf.deviation_wh for leaf in scene.record.meters):
        yield Told(retold(scene, replace(scene.record, auctions=())), Lie.BALANCE, 1)


def supplier_trades(scene: Scene) -> Iterator[Told]:
    """The supplier takes the community's surplus at the community's price, or sells into its want."""
    auction = scene.record.auctions[0].auction
    for side in Side:
        terms = (side, 1_000, auction.price, auction.cleared_at_s, 0, 1_000, 0, 0, bytes(32))
        slot = Slot(SUPPLIER, auction.product, 0, *terms)
        yield Told(retold(scene, with_slot(scene.record, 0, slot, b"")), Lie.BALANCE, 1)


def supplier_meters(scene: Scene) -> Iterator[Told]:
    leaf = MeterLeaf(SUPPLIER, 0, 0, *(0,) * 8, -500, 500, NO_READING)
    told = replace(scene.record, meters=(leaf, *scene.record.meters), readings=(b"", *scene.record.readings))
    yield Told(retold(scene, told), Lie.BALANCE, 1)


def generous(scene: Scene) -> Iterator[Told]:
    """A gift out of the supplier's pocket; also to an account that never traded."""
    supplier = scene.posting.balances[SUPPLIER]
    for account in scene.history.everybody:
        leaf = scene.posting.balances.get(account) or BalanceLeaf(account, 0, 0, bytes(32))
        richer = replace(leaf, cumulative_nano=leaf.cumulative_nano + 10**9)
        paid = replace(supplier, cumulative_nano=supplier.cumulative_nano - 10**9)
        yield Told(retold(scene, with_balance(with_balance(scene.record, paid), richer)), Lie.BALANCE, 2)


def balance_vanished(scene: Scene) -> Iterator[Told]:
    for leaf in scene.record.balances[1:]:
        if leaf.cumulative_nano:
            kept = [(b, c) for b, c in zip(scene.record.balances, scene.record.commitments, strict=True) if b != leaf]
            told = replace(scene.record, balances=tuple(b for b, _ in kept), commitments=tuple(c for _, c in kept))
            yield Told(retold(scene, told), Lie.BALANCE, 2)


Entries = tuple[Commitment, ...]


def list_lie(
    change: Callable[[Scene, Entries], Entries | None], reason: Lie, fault: int, reserve: bool = True
) -> Maker:
    """Another list behind every account's reserve, its sum made right as far as a sum can be."""

    def tell(scene: Scene) -> Iterator[Told]:
        for account in scene.history.everybody[:-1]:
            told = change(scene, scene.posting.commitments.get(account, ()))
            if told is not None:
                yield Told(retold(scene, with_list(scene, account, told)), reason, fault)

    return tell


def reserve_lie(by_nano: int) -> Maker:
    def tell(scene: Scene) -> Iterator[Told]:
        for leaf in scene.record.balances:
            if leaf.reserved_nano + by_nano >= 0:
                lying = replace(leaf, reserved_nano=leaf.reserved_nano + by_nano)
                yield Told(retold(scene, with_balance(scene.record, lying)), Lie.RESERVE, 4)

    return tell


def supplier_reserves(scene: Scene) -> Iterator[Told]:
    entries = (Commitment(Product(scene.interval + 9, 1).number, 5, 5),)
    yield Told(retold(scene, with_list(scene, SUPPLIER, entries)), Lie.RESERVE, 4)


def by_product(entries: Entries) -> Entries:
    return tuple(sorted(entries, key=lambda c: c.product))


def too_many(scene: Scene, entries: Entries) -> Entries:
    more = [Commitment(Product(scene.interval + 1_000 + n, 1).number, 1, 0) for n in range(65)]
    return (*entries, *more)


def commitment_lie(
    wanted: Callable[[Scene, Commitment], Any], change: Callable[[Commitment], Commitment | None], traded: bool
) -> Maker:
    """One entry changed or left out, of a product that has a round in this header, or that has none."""

    def tell(scene: Scene) -> Iterator[Told]:
        here = {record.auction.product for record in scene.record.auctions[1:]}
        for account in scene.history.everybody[:-1]:
            entries = scene.posting.commitments.get(account, ())
            for place, entry in enumerate(entries):
                if (entry.product in here) != traded or not wanted(scene, entry):
                    continue
                other = change(entry)
                told = (*entries[:place], *([other] if other else []), *entries[place + 1 :])
                yield Told(retold(scene, with_list(scene, account, told)), Lie.COMMITMENT, 1 if traded else 2)

    return tell


def has_closed(scene: Scene, number: int) -> bool:
    return is_closed(number, scene.interval, scene.history.rules.terms.gate_leads)


def invented(traded: bool) -> Maker:
    """An entry of a product in which the account owes nothing."""

    def tell(scene: Scene) -> Iterator[Told]:
        here = {r.auction.product for r in scene.record.auctions[1:]}
        far = {Product(scene.interval + 50, 1).number}
        for account in scene.history.everybody[:-1]:
            entries = scene.posting.commitments.get(account, ())
            for number in sorted((here if traded else far) - {c.product for c in entries}):
                told = by_product((*entries, Commitment(number, 77, 0)))
                if find_product(number).first_interval > scene.settled:  # type: ignore[union-attr]
                    yield Told(retold(scene, with_list(scene, account, told)), Lie.COMMITMENT, 1 if traded else 2)

    return tell


def ordered_unbacked(scene: Scene) -> Iterator[Told]:
    """Energy counts as ordered without touching the deviation: the sum no longer is one."""
    for leaf in scene.record.meters:
        yield Told(retold(scene, with_meter(scene.record, replace(leaf, ordered_wh=25))), Lie.REGISTER, 4)


METERS: dict[str, Maker] = {
    "the reading is another account's": reading_lie(
        lambda _, r: replace(r, account=r.account + 1), lambda account: account + 1, 1
    ),
    "the reading is of another meter": reading_lie(lambda _, r: replace(r, meter=1), lambda account: account, 1),
    "the reading was taken later": reading_lie(
        lambda c, r: replace(r, interval=c.settled + 1), lambda account: account, 2
    ),
    "the registers are not the reading's": forged_registers,
    "the reading is forged": reading_lie(
        lambda _, r: replace(r, import_wh=r.import_wh + 500), lambda account: account + 1, 4
    ),
    "a meter leaf vanished": vanished,
    "a reading vanished": unread,
    "registers moved without a reading": moved_alone,
    "a register ran backwards": ran_backwards,
    "the deviation is not what is left": meter_lie(lambda m: {"deviation_wh": m.deviation_wh + 1}, Lie.REGISTER, 4),
    "ordered energy that no deviation knows": ordered_unbacked,
    "contracted quarter-hour energy": meter_lie(lambda m: {"quarter_wh": m.quarter_wh + 1}, Lie.CONTRACTED, 1),
    "contracted quarter-hour cost": meter_lie(
        lambda m: {"quarter_cost_nano": m.quarter_cost_nano + 1}, Lie.CONTRACTED, 1
    ),
    "contracted hour energy": meter_lie(lambda m: {"hour_wh": m.hour_wh - 1}, Lie.CONTRACTED, 1),
    "contracted hour cost": meter_lie(lambda m: {"hour_cost_nano": m.hour_cost_nano + 1}, Lie.CONTRACTED, 1),
    "contracted day energy": meter_lie(lambda m: {"day_wh": m.day_wh + 1}, Lie.CONTRACTED, 1),
    "contracted day cost": meter_lie(lambda m: {"day_cost_nano": m.day_cost_nano - 1}, Lie.CONTRACTED, 1),
    "contracted week energy": meter_lie(lambda m: {"week_wh": m.week_wh + 1}, Lie.CONTRACTED, 1),
    "contracted week cost": meter_lie(lambda m: {"week_cost_nano": m.week_cost_nano + 1}, Lie.CONTRACTED, 1),
    "contracted energy is forgotten": meter_lie(
        lambda m: dict.fromkeys(("quarter_wh", "hour_wh", "day_wh", "week_wh"), 0), Lie.CONTRACTED, 1
    ),
    "contracted energy is dropped with its leaf": contracted_dropped,
}

BALANCES: dict[str, Maker] = {
    "a spot slot trades more than the deviation": spot_lie(lambda s: {"quantity_wh": s.quantity_wh + 1}),
    "a spot slot trades the other way": spot_lie(lambda s: {"side": 1 - s.side}),
    "a spot slot counts as partly filled before": spot_lie(
        lambda s: {"filled_before_wh": 1, "fill_wh": max(s.fill_wh - 1, 0)}
    ),
    "a deviation is not traded": deviation_untraded,
    "a spot slot without a meter": slot_without_meter,
    "deviations without a spot round": without_spot_round,
    "the supplier trades in the spot round": supplier_trades,
    "the supplier meters": supplier_meters,
    "a balance moved by a gift": generous,
    "a balance vanished": balance_vanished,
}

RESERVES: dict[str, Maker] = {
    "a list of more than 64 products": list_lie(too_many, Lie.RESERVE, 1),
    "a list out of order": list_lie(lambda _, c: c[::-1] if len(c) > 1 else None, Lie.RESERVE, 2),
    "a product stands twice in a list": list_lie(lambda _, c: (c[0], *c) if c else None, Lie.RESERVE, 2),
    "a commitment owes nothing": list_lie(
        lambda s, c: (*c, Commitment(Product(s.interval + 999, 1).number, 0, 0)), Lie.RESERVE, 3
    ),
    "a commitment of a settled product": list_lie(
        lambda s, c: by_product((*c, Commitment(Product(s.settled, 1).number, 5, 0))), Lie.RESERVE, 3
    ),
    "a commitment of what no product is": list_lie(lambda _, c: (Commitment(7, 5, 0), *c), Lie.RESERVE, 3),
    "a reserve is too large": reserve_lie(1),
    "a reserve is too small": reserve_lie(-1),
    "the supplier reserves": supplier_reserves,
    "an open product is left out": commitment_lie(lambda _s, _c: True, lambda _: None, True),
    "an open product reserves too little": commitment_lie(
        lambda _, c: c.bid_nano, lambda c: replace(c, bid_nano=c.bid_nano - 1, interval_nano=c.interval_nano + 1), True
    ),
    "a position reserves too much": commitment_lie(
        lambda _s, _c: True, lambda c: replace(c, interval_nano=c.interval_nano + 1), True
    ),
    "a bid rests after its gate has closed": commitment_lie(
        lambda s, c: has_closed(s, c.product), lambda c: replace(c, bid_nano=c.bid_nano + 10**6), True
    ),
    "an entry is made up of a product traded here": invented(True),
    "a carried product is left out": commitment_lie(lambda _s, _c: True, lambda _: None, False),
    "a carried product reserves too little": commitment_lie(
        lambda _, c: c.interval_nano, lambda c: replace(c, interval_nano=c.interval_nano - 1, bid_nano=1), False
    ),
    "a carried product reserves too much": commitment_lie(
        lambda _s, _c: True, lambda c: replace(c, interval_nano=c.interval_nano + 1), False
    ),
    "a bid is carried beyond its gate": commitment_lie(
        lambda s, c: has_closed(s, c.product), lambda c: replace(c, bid_nano=c.bid_nano + 10**6), False
    ),
    "an entry is made up": invented(False),
}

METER_LIES: dict[str, Maker] = METERS | BALANCES | RESERVES
