"""Money neither appears nor vanishes: balances sum to zero, statements add up to them, every amount can be redone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from contracts.codes import AuctionRule
from contracts.messages import SUPPLIER
from coordinator.pricing.community_price import PriceInputs, community_price
from simulators.auditors.auditor import Findings
from simulators.world_events import RecordPublished, WorldEvent

if TYPE_CHECKING:
    from simulators.world import World


class MoneyAuditor:
    """Looks at every record's price and balances, and at the books at the end."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._findings = Findings("money")

    def observe(self, event: WorldEvent) -> None:
        """Each shared spot price follows from its published inputs; each published balance sheet sums to zero."""
        if not isinstance(event, RecordPublished):
            return
        document = json.loads(event.record)
        spot = document["auctions"][0]["auction"]
        follows = int(spot["price"]) == community_price(PriceInputs(**document["price_inputs"]))
        if int(spot["rule"]) == AuctionRule.SPOT_SHARED and not follows:
            self._findings.add(f"the community price of header {event.interval} does not follow from its inputs")
        if sum(int(leaf["cumulative_nano"]) for leaf in document["balances"]):
            self._findings.add(f"the balances of header {event.interval} do not sum to zero")

    def verdict(self) -> list[str]:
        """The books at the end."""
        core = self._world.operator.core
        if core is None:
            return self._findings.texts()
        balances: dict[int, int] = dict(core.store.rows("SELECT account, cumulative_nano FROM balances"))
        if sum(balances.values()):
            self._findings.add(f"balances sum to {sum(balances.values())}, not zero")
        totals: dict[int, int] = {}
        for row in core.store.rows(
            "SELECT account, interval, metered_wh, contracted_wh, contracted_cost_nano, deviation_wh, spot_fill_wh,"
            " spot_price, supplier_wh, supplier_price, result_nano FROM statements"
        ):
            account, interval, metered, contracted, cost, deviation, fill, price, supplied, tariff, result = row
            totals[account] = totals.get(account, 0) + result
            where = f"statement of account {account} for interval {interval}"
            if metered - contracted != deviation or fill + supplied != deviation:
                self._findings.add(f"{where}: the energies do not add up")
            if result != -(cost + price * fill + tariff * supplied):
                self._findings.add(f"{where}: the result is not what its amounts say")
        for account, balance in balances.items():
            if account != SUPPLIER and totals.get(account, 0) != balance:
                self._findings.add(f"statements of account {account} add up to {totals.get(account, 0)}, not {balance}")
        if balances and balances.get(SUPPLIER, 0) != -sum(totals.values()):
            self._findings.add("the supplier's balance is not the other side of all statements")
        return self._findings.texts()
