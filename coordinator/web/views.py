"""What the pages and routes show, as SQL over the committed store. Nothing here changes anything.

Rows become dictionaries with integers and their units in the names; absent values are absent (None), never 0.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from contracts.codes import AuctionRule, Side
from contracts.eip712 import LocalValueError
from contracts.interval import SPOT_ROUND, Product, interval_of
from contracts.units import amount_nano
from coordinator.config import MarketConfig
from coordinator.grid.power_balance import power_balance
from coordinator.store.store import Store

Document = dict[str, Any]
DAY_INTERVALS = 96
ABSENT_KEY = 2**62
"""Larger than any key: the first page begins above it."""


def order_id(account: int, product: int, version: int) -> str:
    """An order's name in the interface."""
    return f"{account}-{product}-{version}"


def numbers(identity: str, count: int) -> tuple[int, ...] | None:
    """The ``count`` numbers of an identity ``1-2-3``; None when it is none."""
    parts = identity.split("-")
    if len(parts) != count or not all(part.isascii() and part.isdigit() and len(part) <= 18 for part in parts):
        return None
    return tuple(int(part) for part in parts)


def product_document(number: int) -> Document:
    """A product in words; empty for a number that is none."""
    try:
        product = Product.from_number(number)
    except (ValueError, LocalValueError):
        return {"product": number}
    return {
        "product": number,
        "length": product.length,
        "first_interval": product.first_interval,
        "start_s": product.start_s,
        "end_s": product.end_s,
    }


# -- orders and trades -------------------------------------------------------------------------------------------

_ORDER = (
    "SELECT account, product, version, side, quantity_wh, limit_price, expiry_s, first_round, filled_wh, live FROM bids"
)


def order(store: Store, account: int, product: int, version: int) -> Document | None:
    """One order with its state; None where there is no such version."""
    row = store.row(f"{_ORDER} WHERE account = ? AND product = ? AND version = ?", account, product, version)
    return None if row is None else _order_document(row)


def newest_version(store: Store, account: int, product: int) -> int:
    """Highest version of an account's orders for a product; 0 before the first."""
    return store.integer("SELECT MAX(version) FROM bids WHERE account = ? AND product = ?", account, product)


def _order_document(row: tuple[Any, ...]) -> Document:
    account, product, version, side, quantity, price, expiry_s, first_round, filled, live = row
    state = "FILLED" if quantity and filled >= quantity else "ACTIVE" if live and quantity else "CANCELLED"
    length = product_document(product).get("length", 1)
    return {
        "id": order_id(account, product, version),
        "account": account,
        **product_document(product),
        "version": version,
        "side": Side(side).name,
        "quantity_wh": quantity,
        "amount_wh": quantity * length,
        "limit_price": price,
        "expiry_s": expiry_s,
        "first_round": first_round,
        "filled_wh": filled,
        "status": state,
    }


def trades(store: Store, limit: int, after: tuple[int, ...] | None, account: int | None) -> list[tuple[Any, ...]]:
    """Fills newest first: ``cleared_at_s, product, round, account, side, fill_wh, price, rule, interval, state``."""
    who = "" if account is None else f"AND s.account = {int(account)}"
    return store.rows(
        "SELECT a.cleared_at_s, s.product, s.round, s.account, s.side, s.fill_wh, a.price, a.rule, a.header_interval,"
        " h.state FROM slots s JOIN auctions a USING (product, round)"
        " LEFT JOIN headers h ON h.interval = a.header_interval"
        f" WHERE s.fill_wh > 0 {who} AND (a.cleared_at_s, s.product, s.round, s.account) < (?, ?, ?, ?)"
        " ORDER BY a.cleared_at_s DESC, s.product DESC, s.round DESC, s.account DESC LIMIT ?",
        *(after or (ABSENT_KEY,) * 4), limit,
    )  # fmt: skip


def trade_document(row: tuple[Any, ...]) -> Document:
    """One fill in words."""
    cleared_at_s, product, round_number, account, side, fill_wh, price, rule, interval, state = row
    length = product_document(product).get("length", 1)
    return {
        "id": f"{product}-{round_number}-{account}",
        "cleared_at_s": cleared_at_s,
        **product_document(product),
        "round": round_number,
        "spot": round_number == SPOT_ROUND,
        "rule": AuctionRule(rule).name,
        "account": account,
        "side": Side(side).name,
        "fill_wh": fill_wh,
        "price": price,
        "amount_nano": amount_nano(price, fill_wh) * length,
        "header_interval": interval,
        "header_state": state,
    }


# -- market ------------------------------------------------------------------------------------------------------


def products(store: Store, market: MarketConfig, now_s: int) -> list[Document]:
    """Every product that is open now, with its gate, its next round and its last price."""
    found = []
    for product in market.calendar.open_products(now_s):
        schedule = market.calendar.schedule(product.length)
        number = schedule.next_round(product, now_s)
        last = store.row(
            "SELECT price, volume_wh FROM auctions WHERE product = ? ORDER BY round DESC LIMIT 1", product.number
        )
        found.append(
            product_document(product.number)
            | {
                "gate_closure_s": schedule.gate_closure_s(product),
                "next_round": number,
                "next_round_at_s": None if number is None else schedule.clears_at_s(product, number),
                "last_price": None if last is None or not last[1] else last[0],
                "open_orders": store.integer(
                    "SELECT COUNT(*) FROM bids WHERE product = ? AND live = 1 AND quantity_wh > 0", product.number
                ),
            }
        )
    return found


def order_book(store: Store, product: int) -> Document:
    """Open quantity by price and side, best first; nobody's name."""
    sides = {}
    for side, direction in ((Side.BUY, "DESC"), (Side.SELL, "ASC")):
        rows = store.rows(
            "SELECT limit_price, SUM(quantity_wh - filled_wh), COUNT(*) FROM bids WHERE product = ? AND side = ?"
            f" AND live = 1 AND quantity_wh > filled_wh GROUP BY limit_price ORDER BY limit_price {direction}",
            product, int(side),
        )  # fmt: skip
        sides[side.name.lower()] = [{"limit_price": p, "quantity_wh": q, "orders": n} for p, q, n in rows]
    return product_document(product) | sides


def auctions(store: Store, limit: int, after: tuple[int, ...] | None, product: int | None) -> list[tuple[Any, ...]]:
    """Auctions newest first: ``cleared_at_s, product, round, rule, price, volume_wh, header_interval, hash``."""
    which = "" if product is None else f"AND product = {int(product)}"
    return store.rows(
        "SELECT cleared_at_s, product, round, rule, price, volume_wh, header_interval, hash FROM auctions"
        f" WHERE (cleared_at_s, product, round) < (?, ?, ?) {which}"
        " ORDER BY cleared_at_s DESC, product DESC, round DESC LIMIT ?",
        *(after or (ABSENT_KEY,) * 3), limit,
    )  # fmt: skip


def auction_document(row: tuple[Any, ...]) -> Document:
    """One auction in words; without volume there is no price."""
    cleared_at_s, product, round_number, rule, price, volume_wh, interval, struct_hash = row
    return {
        "id": f"{product}-{round_number}",
        "cleared_at_s": cleared_at_s,
        **product_document(product),
        "round": round_number,
        "rule": AuctionRule(rule).name,
        "price": price if volume_wh else None,
        "volume_wh": volume_wh,
        "header_interval": interval,
        "hash": "0x" + struct_hash.hex(),
    }


# -- grid --------------------------------------------------------------------------------------------------------


def grid_status(store: Store, market: MarketConfig, now_s: int) -> Document:
    """Power, voltage and frequency of the feeder now, and the community price of the last settled interval."""
    balance = asdict(power_balance(store, now_s))
    last = store.row("SELECT interval, price FROM prices ORDER BY interval DESC LIMIT 1")
    return {
        "feeder": market.feeder,
        "now_s": now_s,
        "interval": interval_of(now_s),
        **balance,
        "price": None if last is None else last[1],
        "price_interval": None if last is None else last[0],
        "tariff_import": market.tariff_import,
        "tariff_export": market.tariff_export,
        "equivocations": store.integer("SELECT COUNT(*) FROM equivocations"),
    }


def power_curve(store: Store, since: int, until: int) -> list[Document]:
    """Demand, supply and price of settled intervals in ``since … until``, both ends included."""
    rows = store.rows(
        "SELECT interval, demand_w, supply_w, price, demand_permille, supply_permille, time_permille,"
        " stability_permille FROM prices WHERE interval BETWEEN ? AND ? ORDER BY interval",
        since, until,
    )  # fmt: skip
    names = (
        "interval", "demand_w", "supply_w", "price",
        "demand_permille", "supply_permille", "time_permille", "stability_permille",
    )  # fmt: skip
    return [dict(zip(names, row, strict=True)) for row in rows]


def homes(store: Store, now_s: int) -> list[Document]:
    """Every home with its latest values and their age."""
    rows = store.rows(
        "SELECT p.account, p.edge, r.power_w, r.voltage_mv, r.taken_at_s, COALESCE(b.cumulative_nano, 0)"
        " FROM participants p LEFT JOIN latest_readings r ON r.account = p.account AND r.meter = 0"
        " LEFT JOIN balances b ON b.account = p.account WHERE p.edge IS NOT NULL ORDER BY p.account"
    )
    return [
        {
            "account": account,
            "edge": edge,
            "power_w": power_w,
            "voltage_mv": voltage_mv,
            "age_s": None if taken_at_s is None else max(0, now_s - taken_at_s),
            "result_nano": result_nano,
        }
        for account, edge, power_w, voltage_mv, taken_at_s, result_nano in rows
    ]


# -- headers -----------------------------------------------------------------------------------------------------


def headers(store: Store, limit: int, after: tuple[int, ...] | None) -> list[tuple[Any, ...]]:
    """Headers newest first: ``interval, digest, state, chain_index, posted_at_s, gas, record bytes``."""
    return store.rows(
        "SELECT interval, digest, state, chain_index, posted_at_s, gas, LENGTH(record) FROM headers WHERE interval < ?"
        " ORDER BY interval DESC LIMIT ?",
        *(after or (ABSENT_KEY,)), limit,
    )  # fmt: skip


def header_document(row: tuple[Any, ...]) -> Document:
    """One header in words."""
    interval, digest, state, index, posted_at_s, gas, size = row
    return {
        "interval": interval,
        "digest": "0x" + digest.hex(),
        "state": state,
        "chain_index": index,
        "posted_at_s": posted_at_s,
        "gas": gas,
        "record_bytes": size,
    }
