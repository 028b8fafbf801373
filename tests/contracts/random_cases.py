"""Random messages, slots and auctions near what decides, for comparing the two languages."""

from __future__ import annotations

import random
from typing import Any

from contracts.codes import AuctionRule, LongSide
from contracts.eip712 import Message, layout
from contracts.interval import SPOT_ROUND, Product
from contracts.leaves import Slot
from contracts.messages import NO_ACCOUNT, Auction


def random_message(message_type: type[Message], rng: random.Random) -> Any:
    """Any values of the right types, the extremes among them; the meaning is not checked."""
    message = object.__new__(message_type)
    for name, kind in layout(message_type).columns:
        if kind.is_bytes:
            value: int | bytes = rng.choice((bytes(kind.width), b"\xff" * kind.width, rng.randbytes(kind.width)))
        else:
            value = rng.choice((kind.low, kind.high, 0, rng.randint(kind.low, kind.high)))
        object.__setattr__(message, name, value)
    return message


def random_slot(rng: random.Random, account: int, price: int, long_side: LongSide) -> Slot:
    """Near what decides: limits around the price, expiry around the round, fills around none, all and a share."""
    quantity = rng.randrange(0, 1_000)
    before = rng.randrange(0, quantity + 1) if rng.random() < 0.5 else 0
    limit = price + rng.choice((-100, -1, 0, 0, 0, 1, 100))
    fill = rng.choice((0, quantity - before, rng.randrange(0, 1_000)))
    expiry_s = rng.choice((999, 1_000, 1_001))
    return Slot(
        account, Product(8, 1).number, 1, rng.randrange(2), quantity, limit, expiry_s, before, fill, 0, 0, bytes(32),
    )  # fmt: skip


def random_auction(rng: random.Random) -> Auction:
    lo = rng.randrange(-(10**7), 10**7)
    hi = lo + rng.choice((0, 0, 1, 101))
    marginal = rng.choice((0, rng.randrange(1, 2_000)))
    accounts = [rng.choice((NO_ACCOUNT, rng.randrange(1, 9))) for _ in range(2)]
    price = (lo + hi) // 2 + rng.choice((0, 0, 0, 1))
    return Auction(
        Product(8, 1).number, rng.choice((0, SPOT_ROUND)), AuctionRule(rng.randrange(3)), 1_000, price, lo, hi,
        accounts[0], accounts[1], rng.randrange(2_000), marginal, rng.randrange(marginal + 1) + (rng.random() < 0.05),
        LongSide(rng.randrange(3)), bytes(32), bytes(32),
    )  # fmt: skip
