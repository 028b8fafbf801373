"""What concerns one account or one meter: registers, energy per interval, the bill. SQL over the committed store."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from contracts.codes import ReadingFlag
from contracts.interval import INTERVALS_PER_DAY
from coordinator.store.store import Store
from coordinator.web.views import ABSENT_KEY, Document

BILL_FORMULA = (
    "result = -(contracted_cost + spot_fill_wh * spot_price + supplier_wh * supplier_price), energies positive when"
    " bought; without_community = -(metered_wh * tariff), import tariff when positive, feed-in when negative;"
    " saved = result - without_community"
)


def meter_exists(store: Store, account: int, meter: int) -> bool:
    """Whether the meter was ever read."""
    for table in ("settlement_readings", "latest_readings"):
        if store.row(f"SELECT 1 FROM {table} WHERE account = ? AND meter = ? LIMIT 1", account, meter):
            return True
    return False


def readings(
    store: Store, account: int, meter: int, limit: int, after: tuple[int, ...] | None
) -> list[tuple[Any, ...]]:
    """Signed readings newest first: ``interval, epoch, sequence, taken_at_s, import_wh, export_wh, flags, hash``."""
    return store.rows(
        "SELECT interval, epoch, sequence, taken_at_s, import_wh, export_wh, flags, hash FROM settlement_readings"
        " WHERE account = ? AND meter = ? AND (interval, epoch, sequence) < (?, ?, ?)"
        " ORDER BY interval DESC, epoch DESC, sequence DESC LIMIT ?",
        account, meter, *(after or (ABSENT_KEY,) * 3), limit,
    )  # fmt: skip


def reading_document(row: tuple[Any, ...]) -> Document:
    """One reading in words."""
    interval, epoch, sequence, taken_at_s, import_wh, export_wh, flags, struct_hash = row
    return {
        "interval": interval,
        "epoch": epoch,
        "sequence": sequence,
        "taken_at_s": taken_at_s,
        "import_wh": import_wh,
        "export_wh": export_wh,
        "flags": [flag.name for flag in ReadingFlag if flag & flags],
        "hash": "0x" + struct_hash.hex(),
    }


def energy(store: Store, account: int, meter: int, column: str, since: int, until: int, by_day: bool) -> list[Document]:
    """Energy between consecutive readings: differences of one register, never across an exchange of the meter.

    ``column`` is ``import_wh`` or ``export_wh``. A difference over a gap stands for all the intervals it covers. By
    day, a difference belongs to the UTC day in which it ends.
    """
    rows = store.rows(
        f"SELECT interval, epoch, MAX(sequence), {column} FROM settlement_readings"
        " WHERE account = ? AND meter = ? AND interval BETWEEN ? AND ? GROUP BY interval ORDER BY interval",
        account, meter, since - 1, until,
    )  # fmt: skip
    steps: list[Document] = []
    for before, after in pairwise(rows):
        gained_wh = after[3] - before[3]
        if after[1] == before[1] and gained_wh >= 0:
            steps.append({"first_interval": before[0] + 1, "last_interval": after[0], "energy_wh": gained_wh})
    return _by_day(steps) if by_day else steps


def _by_day(steps: list[Document]) -> list[Document]:
    days: dict[int, Document] = {}
    for step in steps:
        day = step["last_interval"] // INTERVALS_PER_DAY
        first = {"first_interval": step["first_interval"], "last_interval": 0, "energy_wh": 0}
        entry = days.setdefault(day, first)
        entry["last_interval"] = step["last_interval"]
        entry["energy_wh"] += step["energy_wh"]
    return list(days.values())


def account_exists(store: Store, account: int) -> bool:
    """Whether the chain has opened the account."""
    return store.row("SELECT 1 FROM participants WHERE account = ?", account) is not None


def bill(store: Store, account: int, since: int, until: int) -> Document:
    """All money of an account in ``since … until`` (intervals, both ends included), and where it stands now."""
    columns = (
        "intervals", "metered_wh", "contracted_wh", "contracted_cost_nano", "spot_bought_wh", "spot_sold_wh",
        "supplier_bought_wh", "supplier_sold_wh", "result_nano", "without_community_nano",
    )  # fmt: skip
    sums = store.row(
        "SELECT COUNT(*), SUM(metered_wh), SUM(contracted_wh), SUM(contracted_cost_nano),"
        " SUM(MAX(spot_fill_wh, 0)), SUM(MAX(-spot_fill_wh, 0)), SUM(MAX(supplier_wh, 0)), SUM(MAX(-supplier_wh, 0)),"
        " SUM(result_nano), SUM(without_community_nano)"
        " FROM statements WHERE account = ? AND interval BETWEEN ? AND ?",
        account, since, until,
    )  # fmt: skip
    totals = dict(zip(columns, (value or 0 for value in sums or (0,) * len(columns)), strict=True))
    cash = store.row("SELECT deposited_nano, withdrawn_nano FROM participants WHERE account = ?", account) or (0, 0)
    standing = store.row("SELECT cumulative_nano, reserved_nano FROM balances WHERE account = ?", account) or (0, 0)
    return {
        "account": account,
        "first_interval": since,
        "last_interval": until,
        **totals,
        "saved_nano": totals["result_nano"] - totals["without_community_nano"],
        "cash_nano": cash[0] - cash[1] + standing[0],
        "reserved_nano": standing[1],
        "formula": BILL_FORMULA,
    }


def statements(
    store: Store, account: int, since: int, until: int, limit: int, after: tuple[int, ...] | None
) -> list[Document]:
    """The intervals of a bill, newest first."""
    names = (
        "interval", "metered_wh", "contracted_wh", "contracted_cost_nano", "deviation_wh", "spot_fill_wh",
        "spot_price", "supplier_wh", "supplier_price", "result_nano", "without_community_nano",
    )  # fmt: skip
    rows = store.rows(
        f"SELECT {', '.join(names)} FROM statements WHERE account = ? AND interval BETWEEN ? AND ? AND interval < ?"
        " ORDER BY interval DESC LIMIT ?",
        account, since, until, *(after or (ABSENT_KEY,)), limit,
    )  # fmt: skip
    return [dict(zip(names, row, strict=True)) for row in rows]
