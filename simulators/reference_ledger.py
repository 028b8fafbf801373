"""A second bookkeeping, naive and slow, written from the market's rules alone: it shares no code with the coordinator.

It is told what the homes signed and which of it took part (that depends on arrival times); everything else it works
out again: prices and fills by lining up single watt-hours, positions, deviations, the shared spot round, balances.

    sell side, cheapest first:  1 Wh at 90, 1 Wh at 90, 1 Wh at 120, …
    buy side, dearest first:    1 Wh at 300, 1 Wh at 250, …           V = how many pairs still agree
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

BUY, SELL = 0, 1
SUPPLIER = 0
LENGTHS = (1, 4, 96, 672)
PRODUCT_FACTOR = 1_024
MONDAY = 4 * 96
"""The first Monday of the epoch, in intervals; weeks begin there."""


@dataclass(frozen=True, slots=True)
class Order:
    """One account's open order in a round."""

    account: int
    side: int
    quantity_wh: int
    limit: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """Price, volume, and what each account got."""

    price: int
    volume_wh: int
    fills: Mapping[int, int]


def _share(prefix: int, quantity: int, give: int, total: int) -> int:
    return (prefix + quantity) * give // total - prefix * give // total if total else 0


def clear_by_units(orders: list[Order]) -> Outcome:
    """The uniform-price call auction, by lining up every single watt-hour. O(all energy)."""
    asks = sorted(o.limit for o in orders if o.side == SELL for _ in range(o.quantity_wh))
    pays = sorted((o.limit for o in orders if o.side == BUY for _ in range(o.quantity_wh)), reverse=True)
    volume = 0
    while volume < len(asks) and volume < len(pays) and pays[volume] >= asks[volume]:
        volume += 1
    lows = ([asks[volume - 1]] if volume else []) + pays[volume : volume + 1]
    highs = ([pays[volume - 1]] if volume else []) + asks[volume : volume + 1]
    if not lows and not highs:
        return Outcome(0, 0, {o.account: 0 for o in orders})
    low = max(lows) if lows else min(highs)
    high = min(highs) if highs else max(lows)
    price = (low + high) // 2
    fills: dict[int, int] = {}
    for side in (BUY, SELL):
        mine = sorted((o for o in orders if o.side == side), key=lambda o: o.account)
        better = [o for o in mine if (o.limit > price if side == BUY else o.limit < price)]
        at_price = [o for o in mine if o.limit == price]
        marginal = sum(o.quantity_wh for o in at_price)
        give = min(marginal, volume - sum(o.quantity_wh for o in better))
        fills |= {o.account: 0 for o in mine} | {o.account: o.quantity_wh for o in better}
        prefix = 0
        for order in at_price:
            fills[order.account] = _share(prefix, order.quantity_wh, give, marginal)
            prefix += order.quantity_wh
    return Outcome(price, volume, fills)


def share_deviations(deviations: Mapping[int, int]) -> dict[int, int]:
    """The shared spot round: the short side in full, the long side pro rata in account order."""
    long, short = (
        {a: w for a, w in sorted(deviations.items()) if w > 0},
        {a: -w for a, w in sorted(deviations.items()) if w < 0},
    )
    volume = min(sum(long.values()), sum(short.values()))
    fills: dict[int, int] = {}
    for side in (long, short):
        total, prefix = sum(side.values()), 0
        for account, quantity in side.items():
            fills[account] = _share(prefix, quantity, volume, total)
            prefix += quantity
    return fills


def products_over(interval: int) -> list[int]:
    """The numbers of the products of every length that deliver in ``interval``."""
    found = []
    for length in LENGTHS:
        anchor = MONDAY if length == 672 else 0
        found.append(((interval - anchor) // length * length + anchor) * PRODUCT_FACTOR + length)
    return found


@dataclass(slots=True)
class SignedBid:
    """What a home signed, how much of it is filled, and the first round its receipt promises (None: no receipt)."""

    account: int
    product: int
    version: int
    side: int
    quantity_wh: int
    limit: int
    expiry_s: int
    filled_wh: int = 0
    promised_round: int | None = None

    @property
    def open_wh(self) -> int:
        """What is not filled yet."""
        return self.quantity_wh - self.filled_wh

    def worst_nano(self, tariff_import: int) -> int:
        """What it may cost at most, over all intervals of its product."""
        worst = self.limit if self.side == BUY else tariff_import - self.limit
        return max(0, worst * self.open_wh) * (self.product % PRODUCT_FACTOR)


@dataclass(slots=True)
class ReferenceLedger:
    """Tariffs in micro/kWh; positions ``{(account, product): (Wh, cost)}`` per interval; balances in nano."""

    tariff_import: int
    tariff_export: int
    bids: dict[tuple[int, int, int], SignedBid] = field(default_factory=dict)
    positions: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)
    registers: dict[int, tuple[int, int]] = field(default_factory=dict)
    balances: dict[int, int] = field(default_factory=dict)
    results: dict[tuple[int, int], int] = field(default_factory=dict)
    settled: int = -1
    _used: dict[tuple[int, int], int] = field(default_factory=dict)

    # -- forward rounds ----------------------------------------------------------------------------------------

    def run_round(self, product: int, number: int, at_s: int, versions: Mapping[int, int]) -> tuple[Outcome, list[str]]:
        """Clears a round in which these versions took part; the outcome, and who should have taken part otherwise."""
        faults = self._participation_faults(product, number, at_s, versions)
        bids = [self.bids[a, product, v] for a, v in versions.items() if (a, product, v) in self.bids]
        outcome = clear_by_units([Order(b.account, b.side, b.open_wh, b.limit) for b in bids])
        for bid in bids:
            fill = outcome.fills[bid.account]
            signed = fill if bid.side == BUY else -fill
            wh, cost = self.positions.get((bid.account, product), (0, 0))
            bid.filled_wh += fill
            if (bid.account, product) in self.positions or fill:
                self.positions[bid.account, product] = (wh + signed, cost + signed * outcome.price)
            self._used[bid.account, product] = bid.version
        return outcome, faults

    def _participation_faults(self, product: int, number: int, at_s: int, versions: Mapping[int, int]) -> list[str]:
        faults = []
        for account, version in versions.items():
            bid = self.bids.get((account, product, version))
            if bid is None:
                faults.append(f"account {account} never signed version {version} for product {product}")
            elif bid.expiry_s < at_s or version < self._used.get((account, product), 0):
                faults.append(f"version {version} of account {account} is expired or was replaced")
        promised: dict[int, SignedBid] = {}
        for bid in self.bids.values():
            if bid.product == product and bid.promised_round is not None and bid.promised_round <= number:
                newest = promised.get(bid.account)
                promised[bid.account] = bid if newest is None or bid.version > newest.version else newest
        for account, bid in promised.items():
            is_live = bid.open_wh > 0 and bid.expiry_s >= at_s
            if versions.get(account, 0) < bid.version and (is_live or account in versions):
                faults.append(
                    f"account {account} has a receipt for version {bid.version} from round {bid.promised_round} on,"
                    f" round {number} of product {product} used {versions.get(account)}"
                )
        return faults

    # -- settlement --------------------------------------------------------------------------------------------

    def contracted(self, account: int, interval: int) -> tuple[int, int]:
        """Energy and cost of all positions of an account that deliver in ``interval``."""
        held = [self.positions.get((account, product), (0, 0)) for product in products_over(interval)]
        return sum(wh for wh, _ in held), sum(cost for _, cost in held)

    def settle(self, interval: int, readings: Mapping[int, tuple[int, int]], price: int) -> dict[int, tuple[int, int]]:
        """Settles an interval with the registers that came; ``{account: (metered, deviation)}``."""
        accounts = {*self.registers, *readings} | {
            account for account, product in self.positions if product in products_over(interval)
        }
        judged: dict[int, tuple[int, int]] = {}
        for account in sorted(accounts):
            before, now = self.registers.get(account), readings.get(account)
            metered = 0
            if now is not None:
                if before is not None:
                    metered = now[0] - before[0] - now[1] + before[1]
                self.registers[account] = now
            judged[account] = (metered, metered - self.contracted(account, interval)[0])
        fills = share_deviations({account: deviation for account, (_, deviation) in judged.items()})
        for account, (_, deviation) in judged.items():
            traded = fills.get(account, 0)
            rest = abs(deviation) - traded
            cost = self.contracted(account, interval)[1]
            cost += price * traded + self.tariff_import * rest if deviation >= 0 else 0
            cost -= price * traded + self.tariff_export * rest if deviation < 0 else 0
            self.results[account, interval] = -cost
            self.balances[account] = self.balances.get(account, 0) - cost
            self.balances[SUPPLIER] = self.balances.get(SUPPLIER, 0) + cost
        self.settled = interval
        over = [key for key in self.positions if _last_interval(key[1]) <= interval]
        for key in over:
            del self.positions[key]
        return judged

    # -- collateral --------------------------------------------------------------------------------------------

    def worst_cost_nano(self, account: int, live: list[SignedBid]) -> int:
        """What an account may still owe: every open bid at its worst, every position undelivered."""
        total = sum(bid.worst_nano(self.tariff_import) for bid in live)
        for (holder, product), (wh, cost) in self.positions.items():
            if holder == account:
                first, length = divmod(product, PRODUCT_FACTOR)
                left = max(0, first + length - max(first, self.settled + 1))
                total += max(0, cost + self.tariff_import * max(0, -wh)) * left
        return total


def _last_interval(product: int) -> int:
    first, length = divmod(product, PRODUCT_FACTOR)
    return first + length - 1
