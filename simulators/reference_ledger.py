"""A second bookkeeping, naive and slow, written from the market's rules alone: it shares no code with the coordinator.

It is told what the homes signed and which of it took part (that depends on arrival times); everything else it works
out again: prices and fills by lining up single watt-hours, positions, deviations, the spot round, balances, reserves.

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
INTERVAL_S = 900

Owed = tuple[int, int]
"""What a product may cost an account: its open bid over all intervals, its position for each interval. Nano."""


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


@dataclass(frozen=True, slots=True)
class SignedLimits:
    """A home's standing order: what it pays at most and asks at least for deviations, and when that holds."""

    account: int
    version: int
    max_buy: int
    min_sell: int
    from_s: int
    until_s: int

    def holds_at(self, at_s: int) -> bool:
        """Whether the order is in force then."""
        return self.from_s <= at_s and (self.until_s == 0 or at_s < self.until_s)


@dataclass(slots=True)
class ReferenceLedger:
    """Tariffs in micro/kWh; positions ``{(account, product): (Wh, cost)}`` per interval; balances in nano.

    ``closes_before_s``: how long before delivery the gate of each traded length closes. ``auctioned``: deviations
    are traded at the limits of standing orders instead of at one given price.
    """

    tariff_import: int
    tariff_export: int
    closes_before_s: Mapping[int, int] = field(default_factory=dict)
    auctioned: bool = False
    bids: dict[tuple[int, int, int], SignedBid] = field(default_factory=dict)
    positions: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)
    registers: dict[int, tuple[int, int]] = field(default_factory=dict)
    balances: dict[int, int] = field(default_factory=dict)
    results: dict[tuple[int, int], int] = field(default_factory=dict)
    settled: int = -1
    spot_price: int = 0
    _used: dict[tuple[int, int], int] = field(default_factory=dict)
    _shown: dict[tuple[int, int], Owed] = field(default_factory=dict)

    # -- forward rounds ----------------------------------------------------------------------------------------

    def run_round(self, product: int, number: int, at_s: int, versions: Mapping[int, int]) -> tuple[Outcome, list[str]]:
        """Clears a round that shows these versions; the outcome, and who should have been shown otherwise.

        What is filled or expired is shown and takes no part. After the round each account owes what it shows.
        """
        faults = self._participation_faults(product, number, versions)
        bids = [self.bids[a, product, v] for a, v in versions.items() if (a, product, v) in self.bids]
        outcome = clear_by_units(
            [Order(b.account, b.side, b.open_wh if b.expiry_s >= at_s else 0, b.limit) for b in bids]
        )
        for bid in bids:
            fill = outcome.fills[bid.account]
            signed = fill if bid.side == BUY else -fill
            wh, cost = self.positions.get((bid.account, product), (0, 0))
            bid.filled_wh += fill
            if (bid.account, product) in self.positions or fill:
                wh, cost = wh + signed, cost + signed * outcome.price
                self.positions[bid.account, product] = (wh, cost)
            self._used[bid.account, product] = bid.version
            position_nano = max(0, cost + self.tariff_import * max(0, -wh))
            self._shown[bid.account, product] = bid.worst_nano(self.tariff_import), position_nano
        return outcome, faults

    def _participation_faults(self, product: int, number: int, versions: Mapping[int, int]) -> list[str]:
        faults = []
        for account, version in versions.items():
            if (account, product, version) not in self.bids:
                faults.append(f"account {account} never signed version {version} for product {product}")
            elif version < self._used.get((account, product), 0):
                faults.append(f"version {version} of account {account} was replaced")
        for account in {a for a, p in self._used if p == product} - set(versions):
            faults.append(f"account {account} was shown in product {product} and is not in round {number}")
        promised: dict[int, SignedBid] = {}
        for bid in self.bids.values():
            if bid.product == product and bid.promised_round is not None and bid.promised_round <= number:
                newest = promised.get(bid.account)
                promised[bid.account] = bid if newest is None or bid.version > newest.version else newest
        for account, bid in promised.items():
            if versions.get(account, 0) < bid.version:
                faults.append(
                    f"account {account} has a receipt for version {bid.version} from round {bid.promised_round} on,"
                    f" round {number} of product {product} used {versions.get(account)}"
                )
        return faults

    # -- settlement --------------------------------------------------------------------------------------------

    def contracted(self, account: int, interval: int) -> tuple[tuple[int, int], ...]:
        """Energy and cost of an account's positions that deliver in ``interval``, for each of ``LENGTHS``."""
        return tuple(self.positions.get((account, product), (0, 0)) for product in products_over(interval))

    def settle(
        self,
        interval: int,
        readings: Mapping[int, tuple[int, int]],
        price: int,
        limits: Mapping[int, SignedLimits] | None = None,
    ) -> dict[int, tuple[int, int]]:
        """Settles an interval with the registers that came; ``{account: (metered, deviation)}``.

        ``price`` is that of a shared spot round; an auctioned one finds its own from the ``limits`` in force.
        """
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
            judged[account] = (metered, metered - sum(wh for wh, _ in self.contracted(account, interval)))
        deviations = {account: deviation for account, (_, deviation) in judged.items()}
        self.spot_price, fills = price, share_deviations(deviations)
        if self.auctioned:
            outcome = clear_by_units([self._at_limit(a, wh, limits or {}) for a, wh in deviations.items() if wh])
            self.spot_price, fills = outcome.price, dict(outcome.fills)
        for account, deviation in deviations.items():
            traded = fills.get(account, 0)
            rest = abs(deviation) - traded
            cost = sum(nano for _, nano in self.contracted(account, interval))
            cost += self.spot_price * traded + self.tariff_import * rest if deviation >= 0 else 0
            cost -= self.spot_price * traded + self.tariff_export * rest if deviation < 0 else 0
            self.results[account, interval] = -cost
            self.balances[account] = self.balances.get(account, 0) - cost
            self.balances[SUPPLIER] = self.balances.get(SUPPLIER, 0) + cost
        self.settled = interval
        over = [key for key in self.positions if _last_interval(key[1]) <= interval]
        for key in over:
            del self.positions[key]
        return judged

    def _at_limit(self, account: int, deviation_wh: int, limits: Mapping[int, SignedLimits]) -> Order:
        mine = limits.get(account)
        if deviation_wh > 0:
            return Order(account, BUY, deviation_wh, mine.max_buy if mine else self.tariff_import)
        return Order(account, SELL, -deviation_wh, mine.min_sell if mine else self.tariff_export)

    # -- collateral --------------------------------------------------------------------------------------------

    def reserves(self, interval: int) -> dict[int, list[tuple[int, Owed]]]:
        """What header ``interval`` must list for each account by product, after its rounds and its settlement."""
        for key in [k for k in self._shown if _last_interval(k[1]) <= self.settled]:
            del self._shown[key]
        lists: dict[int, list[tuple[int, Owed]]] = {}
        for (account, product), (bid, position) in sorted(self._shown.items()):
            first, length = divmod(product, PRODUCT_FACTOR)
            closes_in = (first * INTERVAL_S - self.closes_before_s.get(length, 0)) // INTERVAL_S
            owed = (0 if closes_in <= interval else bid, position)
            if owed != (0, 0):
                lists.setdefault(account, []).append((product, owed))
        return lists

    def reserve_nano(self, entries: list[tuple[int, Owed]]) -> int:
        """The sum of a list: bids once, positions for every interval that is not settled."""
        total = 0
        for product, (bid, position) in entries:
            first, length = divmod(product, PRODUCT_FACTOR)
            total += bid + position * max(0, first + length - max(first, self.settled + 1))
        return total

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
