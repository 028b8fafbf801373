"""Registers, balances and statements: what a settled interval does to every account.

deviation = metered - contracted - ordered         metered = change of import - change of export
result    = -(contracted cost + spot cost + supplier cost)         all results, the supplier's included, sum to 0
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from contracts.batch import AuctionRecord
from contracts.commitments import Commitment, commitments_hash, intervals_left, reserved_nano
from contracts.envelope import Envelope, open_envelope
from contracts.interval import PRODUCT_LENGTHS, Product, product_covering
from contracts.leaves import BalanceLeaf, MeterLeaf, meter_leaf, reading_commitment, settlement_delta_nano
from contracts.messages import SUPPLIER
from contracts.meter_rules import NO_READING, SETTLEMENT_METER
from contracts.units import amount_nano
from coordinator.config import MarketConfig
from coordinator.effects import Alarm
from coordinator.store.store import Store

INTERVALS_PER_HOUR = 4
RESERVE_SHOWN_LIMIT_NANO = 2**63 - 1
"""What the store's column for people holds; the leaf itself has 128 bits."""

Contracted = Mapping[int, tuple[int, int]]
"""``{product length: (energy Wh, cost nano)}`` of one account in one interval."""


@dataclass(frozen=True, slots=True)
class MeteredAccount:
    """An account's leaf, and the packed envelope of the reading behind it (empty: registers carried over).

    ``refused`` says that there was a reading, with more energy than the connection can carry.
    """

    leaf: MeterLeaf
    metered_wh: int
    reading: bytes
    refused: bool = False


def refused_registers(metered: Iterable[MeteredAccount]) -> Iterator[Alarm]:
    """An alarm for every account whose registers claim more than its connection carries."""
    for one in metered:
        if one.refused:
            text = f"account {one.leaf.account} claims more energy than its connection carries; not settled"
            yield Alarm("implausible_registers", text)


class Ledger:
    """Registers, balances and statements in the store."""

    def __init__(self, store: Store, market: MarketConfig) -> None:
        self._store = store
        self._market = market

    def metered_accounts(self, interval: int) -> list[MeteredAccount]:
        """The meter leaf of every account with registers or contracts for ``interval``, by account.

        The newest reading up to the end of the interval counts; without one the registers stay and the energy
        comes with the next reading. A first reading is the baseline and meters nothing. Who was read once keeps a
        leaf for ever.
        """
        before = self._registers()
        readings = self._newest_readings(interval)
        contracted = self.contracted(interval)
        return [
            self._metered(account, interval, before.get(account), readings.get(account), contracted.get(account, {}))
            for account in sorted({*before, *readings, *contracted} - {SUPPLIER})
        ]

    def _metered(
        self,
        account: int,
        interval: int,
        before: tuple[int, int, bytes, int] | None,
        reading: tuple[int, int, int] | None,
        contracted: Contracted,
    ) -> MeteredAccount:
        imported, exported, reading_hash, moved_in = before or (0, 0, NO_READING, interval)
        metered_wh, envelope, refused = 0, b"", False
        if reading is not None:
            new_import, new_export, inbox_id = reading
            gained = (new_import - imported, new_export - exported)
            most_wh = self._market.connection_limit_w * (interval - moved_in) // INTERVALS_PER_HOUR
            refused = before is not None and max(gained) > most_wh
            if before is None or (min(gained) >= 0 and not refused):
                metered_wh = 0 if before is None else gained[0] - gained[1]
                imported, exported = new_import, new_export
                envelope = self._store.input_payload(inbox_id)
                reading_hash = _committed(envelope)
        contracted_wh = sum(wh for wh, _ in contracted.values())
        leaf = meter_leaf(account, (imported, exported), contracted, 0, metered_wh - contracted_wh, reading_hash)
        return MeteredAccount(leaf, metered_wh, envelope, refused)

    def _registers(self) -> dict[int, tuple[int, int, bytes, int]]:
        rows = self._store.rows("SELECT account, import_wh, export_wh, reading_hash, interval FROM registers")
        return {a: (i, e, bytes(h), moved_in) for a, i, e, h, moved_in in rows}

    def _newest_readings(self, interval: int) -> dict[int, tuple[int, int, int]]:
        """The reading of the latest interval; of two for one interval, the one that was signed later."""
        rows = self._store.rows(
            "SELECT account, import_wh, export_wh, inbox_id FROM settlement_readings"
            " WHERE meter = ? AND interval <= ? AND interval > COALESCE("
            "   (SELECT r.interval FROM registers r WHERE r.account = settlement_readings.account), -1)"
            " ORDER BY interval, epoch, sequence",
            SETTLEMENT_METER,
            interval,
        )
        return {row[0]: (row[1], row[2], row[3]) for row in rows}

    def contracted(self, interval: int) -> dict[int, dict[int, tuple[int, int]]]:
        """``{account: {product length: (energy Wh, cost nano)}}`` of all positions that deliver in ``interval``."""
        found: dict[int, dict[int, tuple[int, int]]] = {}
        for length in PRODUCT_LENGTHS:
            rows = self._store.rows(
                "SELECT account, position_wh, cost_nano FROM positions WHERE product = ?",
                product_covering(interval, length).number,
            )
            for account, wh, cost in rows:
                found.setdefault(account, {})[length] = (wh, cost)
        return found

    def settle(self, interval: int, metered: list[MeteredAccount], spot: AuctionRecord) -> None:
        """Moves registers and balances by one interval and writes the statements."""
        fills = {slot.account: slot.fill_wh for slot in spot.slots}
        price = spot.auction.price
        self._balance(SUPPLIER)
        for account in metered:
            leaf = account.leaf
            fill_wh = fills.get(leaf.account, 0)
            tariffs = (self._market.tariff_import, self._market.tariff_export)
            result = settlement_delta_nano(leaf, fill_wh, price, *tariffs)
            self._move_balance(leaf.account, result)
            self._move_balance(SUPPLIER, -result)
            self._keep_registers(interval, account)
            self._keep_statement(interval, account, fill_wh, price, result)

    def _balance(self, account: int) -> None:
        self._store.run("INSERT OR IGNORE INTO balances VALUES (?, 0, 0)", account)

    def _move_balance(self, account: int, result_nano: int) -> None:
        self._balance(account)
        self._store.run(
            "UPDATE balances SET cumulative_nano = cumulative_nano + ? WHERE account = ?", result_nano, account
        )

    def _keep_registers(self, interval: int, account: MeteredAccount) -> None:
        leaf = account.leaf
        if not account.reading:
            return
        self._store.run(
            "INSERT INTO registers VALUES (?, ?, ?, ?, ?) ON CONFLICT (account) DO UPDATE SET interval ="
            " excluded.interval, import_wh = excluded.import_wh, export_wh = excluded.export_wh,"
            " reading_hash = excluded.reading_hash",
            leaf.account, interval, leaf.import_register_wh, leaf.export_register_wh, leaf.reading_hash,
        )  # fmt: skip

    def _keep_statement(self, interval: int, account: MeteredAccount, fill_wh: int, price: int, result: int) -> None:
        leaf = account.leaf
        rest_wh = (abs(leaf.deviation_wh) - fill_wh) * (1 if leaf.deviation_wh >= 0 else -1)
        tariff = self._market.tariff_import if leaf.deviation_wh >= 0 else self._market.tariff_export
        alone = self._market.tariff_import if account.metered_wh >= 0 else self._market.tariff_export
        self._store.run(
            "INSERT INTO statements VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            leaf.account, interval, account.metered_wh, leaf.contracted_wh, leaf.contracted_cost_nano,
            leaf.deviation_wh, fill_wh if leaf.deviation_wh >= 0 else -fill_wh, price, rest_wh, tariff, result,
            -amount_nano(alone, account.metered_wh),
        )  # fmt: skip

    def balance_leaves(self, settled: int, lists: Mapping[int, tuple[Commitment, ...]]) -> tuple[BalanceLeaf, ...]:
        """Every account's balance after ``settled`` is settled with its reserve, the sum of its list; by account."""
        for account in lists:
            self._balance(account)
        rows = self._store.rows("SELECT account, cumulative_nano FROM balances ORDER BY account")
        leaves = []
        for account, cumulative in rows:
            held = lists.get(account, ())
            leaves.append(BalanceLeaf(account, cumulative, reserved_nano(held, settled), commitments_hash(held)))
        self._store.run_many(
            "UPDATE balances SET reserved_nano = ? WHERE account = ?",
            [(min(leaf.reserved_nano, RESERVE_SHOWN_LIMIT_NANO), leaf.account) for leaf in leaves],
        )
        return tuple(leaves)

    def forget_delivered(self, settled: int) -> None:
        """Drops positions whose last interval is settled."""
        rows = self._store.rows("SELECT DISTINCT product FROM positions")
        for (number,) in rows:
            product = Product.from_number(number)
            if intervals_left(product, settled) == 0:
                self._store.run("DELETE FROM positions WHERE product = ?", product.number)


def _committed(envelope: bytes) -> bytes:
    """What a leaf carries for the reading in a packed envelope from the inbox."""
    opened = open_envelope(envelope)
    if not isinstance(opened, Envelope):
        raise ValueError("the inbox holds a reading that is no envelope")
    return reading_commitment(opened.message.struct_hash(), opened.signature)
