"""Every field of every leaf is under some rule: change one, make all above it right again, and the auditor objects.

The few freedoms that an operator has are listed with the reason why nobody loses by them.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from contracts.batch import BatchRecord, RemoteRecordError
from contracts.bounded_json import load_json
from contracts.codes import AuctionRule
from contracts.eip712 import LocalValueError, layout
from contracts.messages import SUPPLIER
from tests.contracts.lies import NIGHTLY, RULES, told_history
from tests.contracts.retelling import (
    Scene,
    resealed,
    retold,
    with_auction,
    with_balance,
    with_meter,
    with_slot,
    without_meter,
    without_slot,
)

Change = Callable[[Any], Any]
Changed = Callable[[Change], BatchRecord]
HEADERS = (0, 4, 7, 9, 15, 21)
EACH = 30 if NIGHTLY else 1

FREE = {
    "forward auction.cleared_at_s": "within the interval and after the round before the operator's clock decides",
    "spot auction.cleared_at_s": "within the interval nothing hangs on when deviations are traded",
    "forward auction.round": "rounds may be left out; a receipted one that is missing can be demanded",
    "forward auction.lo_account": "another slot that attains the bound is as good a witness",
    "forward auction.hi_account": "another slot that attains the bound is as good a witness",
    "spot auction.lo_account": "another slot that attains the bound is as good a witness, and `shared` needs none",
    "spot auction.hi_account": "another slot that attains the bound is as good a witness, and `shared` needs none",
    "forward auction.long_side": "where nothing stands at the margin there is no long side",
    "spot auction.long_side": "where nothing stands at the margin there is no long side",
    "spot auction.lo": "under `shared` the price is given; lo and hi need only have it in the middle",
    "spot auction.hi": "under `shared` the price is given; lo and hi need only have it in the middle",
    "forward slot.side": "a retired slot keeps nothing but its version",
    "forward slot.limit_price": "a retired slot keeps nothing but its version",
    "forward slot.expiry_s": "a retired slot keeps nothing but its version",
    "forward slot.signature_hash": "a bid placed on chain needs no signature; whatever stands there binds nobody",
    "forward slot left out": "a first bid that fills nothing; its home, not the auditor, holds the receipt against it",
    "spot slot.side": "whatever is not `buy` sells",
    "spot slot.expiry_s": "a deviation may expire later than its round",
    "spot slot.position_wh": "spot slots carry no position",
    "spot slot.position_cost_nano": "spot slots carry no position",
    "spot slot.version": "under `shared` nobody signs",
    "spot slot.signature_hash": "under `shared` nobody signs",
    "meter left out": "a first reading meters nothing; the next one comes as the first",
}


def changed_fields(scene: Scene) -> Iterator[tuple[str, Changed]]:
    """Every field of the record with its name, and how it is changed."""
    record = scene.record
    for place, told in enumerate(record.auctions):
        kind = "spot" if place == 0 else "forward"
        for name in fields_of(told.auction):
            yield (
                f"{kind} auction.{name}",
                lambda c, p=place, a=told, n=name: with_auction(
                    record, p, sealed_unless_root(replace(a, auction=altered(a.auction, n, c)), n)
                ),
            )
        for slot in told.slots:
            for name in fields_of(slot):
                yield f"{kind} slot.{name}", lambda c, p=place, s=slot, n=name: with_slot(record, p, altered(s, n, c))
            yield f"{kind} slot left out", lambda _, p=place, s=slot: without_slot(record, p, s.account)
    for leaf in record.meters:
        for name in fields_of(leaf):
            yield f"meter.{name}", lambda c, m=leaf, n=name: with_meter(record, altered(m, n, c))
        yield "meter left out", lambda _, m=leaf: without_meter(record, m.account)
    for balance in record.balances:
        whose = "supplier's balance" if balance.account == SUPPLIER else "balance"
        for name in fields_of(balance):
            yield f"{whose}.{name}", lambda c, b=balance, n=name: with_balance(record, altered(b, n, c))


def fields_of(leaf: Any) -> list[str]:
    """All but the account: a leaf elsewhere is one left out and one added."""
    return [name for name, _ in layout(type(leaf)).columns if name != "account"]


def altered(leaf: Any, name: str, change: Change) -> Any:
    return replace(leaf, **{name: change(getattr(leaf, name))})


def sealed_unless_root(auction: Any, name: str) -> Any:
    return auction if name == "slots_root" else resealed(auction)


def up(value: Any) -> Any:
    return bytes([value[0] ^ 1]) + value[1:] if isinstance(value, bytes) else value + 1


def down(value: Any) -> Any:
    return bytes(len(value)) if isinstance(value, bytes) else value - 1


@pytest.mark.parametrize("rule", RULES)
def test_no_field_can_be_changed_unseen(rule: AuctionRule) -> None:
    rng, unseen, tried = random.Random(3), set[str](), set[str]()
    for at in HEADERS:
        scene, counts = Scene(told_history(rule), at), dict[str, int]()
        every = list(changed_fields(scene))
        rng.shuffle(every)
        for name, make in every:
            counts[name] = counts.get(name, 0) + 1
            if counts[name] > EACH:
                continue
            for change in (up, down):
                try:
                    record = make(change)
                except LocalValueError:
                    continue  # no type carries that value
                if record == scene.record:
                    continue
                tried.add(name)
                if not any(f.call or f.demand for f in scene.audited(retold(scene, record))):
                    unseen.add(name)
    assert unseen <= set(FREE)
    assert len(tried) >= 60


@pytest.mark.parametrize("rule", RULES)
def test_no_record_breaks_the_auditor(rule: AuctionRule) -> None:
    """Whatever is published, in whatever shape: it is refused as no record, or audited to the end."""
    rng, audited = random.Random(4), 0
    for at in HEADERS:
        scene = Scene(told_history(rule), at)
        packed = scene.record.to_bytes()
        for _ in range(400 if NIGHTLY else 25):
            document = load_json(packed)
            for _ in range(rng.choice((1, 2, 5))):
                disturb(document, rng)
            try:
                record = BatchRecord.from_bytes(canonical(document))
                posting = retold(scene, record, interval=scene.interval) if record.auctions else None
            except (RemoteRecordError, LocalValueError):
                continue
            if posting is not None:
                scene.audited(posting)
                audited += 1
    assert audited > 20


def disturb(document: Any, rng: random.Random) -> None:
    """Goes down at random and changes, repeats, removes or swaps what it finds there."""
    while isinstance(document, dict | list) and document:
        key = rng.choice(list(document)) if isinstance(document, dict) else rng.randrange(len(document))
        inner = document[key]
        if isinstance(inner, dict | list) and inner and rng.random() < 0.9:
            document = inner
            continue
        if isinstance(document, list) and rng.random() < 0.7:
            document[key:] = rng.choice((document[key + 1 :], [*document[key:], inner], document[:key:-1]))
        elif isinstance(inner, int):
            document[key] = rng.choice((0, 1, inner + 1, max(inner - 1, 0), -inner, 2**20, 2**31, 2**53 - 1))
        elif isinstance(inner, str) and len(inner) > 4:
            document[key] = rng.choice(("0x" + "00" * (len(inner) // 2 - 1), inner[:-1] + "0", str(2**126)))
        return


def canonical(document: Any) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
