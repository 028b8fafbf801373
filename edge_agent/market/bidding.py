"""One bid per open product: what the forecast wants minus what is contracted already, at the home's own limits.

    for each open product no longer open product covers: want = mean(forecast) - position
    want > 0: buy at min(max_buy, tariff)      want < 0: sell at max(min_sell, feed-in)      about 0: cancel

A longer product comes first; a shorter one is bid for once the longer one's gate is closed, so that nothing is bought
twice. A live bid stays while what is open of it is near what is wanted. A changed bid has a higher version, which
replaces the old one; when the forecast changes sides the old bid is cancelled by quantity 0 first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from contracts.codes import Side
from contracts.interval import Product, ProductLength
from contracts.messages import Bid, StandingOrder
from contracts.units import PRICE_TICK_MICRO_PER_KWH
from edge_agent.config import AgentConfig
from edge_agent.delivery.frame import STANDING_PRODUCT
from edge_agent.market.proofs import Proofs

TOLERANCE_WH = 20
TOLERANCE_PART = 10
"""A bid within 20 Wh or a tenth of what is wanted is left alone: each new version costs a signature and a receipt."""
EVERY_MS = 60_000
"""How often bids are looked at: once a minute, the shortest distance of two rounds."""
HORIZON_INTERVALS = 8 * 96
"""Products that begin later than a week and a day are not bid for."""
REST_S = 3_600
"""How long a product, or the standing order, is left alone after the operator passed our bid over: he refuses for
want of collateral most of all, and that changes with a deposit or a settlement, not within minutes."""


@dataclass(frozen=True, slots=True)
class Placed:
    """Our newest bid for a product."""

    version: int
    side: int
    quantity_wh: int
    limit_price: int


class Expectation(Protocol):
    """What the home will take or give in an interval: a forecast, or a plan made from one."""

    def net_wh(self, interval: int) -> int | None:
        """Positive flows in; None where nothing can be said."""


class Bidding:
    """What this home has bid, and what it should bid now. ``next_version`` lends version numbers."""

    def __init__(
        self, config: AgentConfig, forecast: Expectation, proofs: Proofs, next_version: Callable[[], int | None]
    ) -> None:
        self._account = config.home.account
        self._bidding = config.bidding
        self._market = config.bidding.market
        self._limits = config.limits
        self._forecast = forecast
        self._proofs = proofs
        self._next_version = next_version
        self.placed: dict[int, Placed] = {}
        self.standing: tuple[int, int] | None = None
        self._rests: dict[int, int] = {}
        tick, own = PRICE_TICK_MICRO_PER_KWH, config.bidding
        self._buy_price = min(own.max_buy_price, own.tariff_import) // tick * tick
        self._sell_price = -(-max(own.min_sell_price, own.tariff_export) // tick) * tick

    def unanswered(self, products: Iterable[int], now_s: int) -> None:
        """Our bids for these were passed over: they are bid for again after a rest, under a new version."""
        for number in products:
            self._rests[number] = now_s + REST_S

    def _is_resting(self, number: int, now_s: int) -> bool:
        return now_s < self._rests.get(number, 0) <= now_s + REST_S

    def bids(self, now_s: int) -> list[Bid]:
        """The bids to sign now, at most one a product."""
        if not self._bidding.auto_trade:
            return []
        self.placed = {number: p for number, p in self.placed.items() if Product.from_number(number).end_s > now_s}
        known = (*self.placed, STANDING_PRODUCT)
        self._rests = {number: end_s for number, end_s in self._rests.items() if number in known}
        opened = [p for p in self._market.open_products(now_s) if p.start_s - now_s <= HORIZON_INTERVALS * 900]
        longest_first = sorted(opened, key=lambda product: (-product.length, product.first_interval))
        covered: list[Product] = []
        made: list[Bid] = []
        for product in longest_first:
            if any(longer.covers(product.first_interval) for longer in covered):
                continue
            covered.append(product)
            bid = self._bid(product, now_s)
            if bid is not None:
                made.append(bid)
        return made

    def _bid(self, product: Product, now_s: int) -> Bid | None:
        want = self._want_wh(product)
        if want is None:
            return None
        side = Side.BUY if want >= 0 else Side.SELL
        price = self._buy_price if side == Side.BUY else self._sell_price
        live = self.placed.get(product.number)
        open_wh = self._open_wh(product.number, live)
        tolerance = max(TOLERANCE_WH, abs(want) // TOLERANCE_PART)
        if live is not None and open_wh and (abs(want) <= TOLERANCE_WH or live.side != side):
            side, price, quantity = Side(live.side), live.limit_price, 0
        elif abs(want) <= TOLERANCE_WH or self._is_resting(product.number, now_s):
            return None
        else:
            live = None if product.number in self._rests else live
            same_price = live is not None and live.limit_price == price
            if same_price and open_wh and abs(abs(want) - open_wh) <= tolerance:
                return None
            quantity = abs(want)
        version = self._next_version()
        if version is None:
            return None
        self.placed[product.number] = Placed(version, int(side), quantity, price)
        self._rests.pop(product.number, None)
        return Bid(self._account, product.number, version, int(side), quantity, price, product.start_s)

    def taken_back(self, now_s: int) -> list[Bid]:
        """Cancels what is open of every bid whose gate is: the home has cut itself off and cannot say until when.

        What is cancelled is not open any more, so each bid is taken back once; `bids` bids again afterwards.
        """
        made: list[Bid] = []
        for product in self._market.open_products(now_s):
            live = self.placed.get(product.number)
            if live is None or product.number in self._rests or not self._open_wh(product.number, live):
                continue
            version = self._next_version()
            if version is None:
                break
            self.placed[product.number] = Placed(version, live.side, 0, live.limit_price)
            made.append(Bid(self._account, product.number, version, live.side, 0, live.limit_price, product.start_s))
        return made

    def _want_wh(self, product: Product) -> int | None:
        """Mean over the product of forecast minus position, within what the connection can carry."""
        total = 0
        for interval in range(product.first_interval, product.first_interval + product.length):
            net_wh = self._forecast.net_wh(interval)
            if net_wh is None:
                return None
            net_wh = min(max(net_wh, -self._limits.max_export_w // 4), self._limits.max_import_w // 4)
            total += net_wh - self._proofs.position_wh(interval)
        if product.length == ProductLength.QUARTER_HOUR:
            return total
        return int(total / product.length)  # towards zero: a base load is never more than is wanted

    def _open_wh(self, number: int, live: Placed | None) -> int:
        if live is None:
            return 0
        held = self._proofs.positions.get(number)
        filled_wh = held.filled_wh if held is not None and held.version == live.version else 0
        return max(live.quantity_wh - filled_wh, 0)

    def standing_order(self, now_s: int) -> StandingOrder | None:
        """The limits for spot rounds, once and whenever they changed."""
        limits = (self._buy_price, self._sell_price)
        rested = STANDING_PRODUCT in self._rests and not self._is_resting(STANDING_PRODUCT, now_s)
        if not self._bidding.auto_trade or (self.standing == limits and not rested):
            return None
        version = self._next_version()
        if version is None:
            return None
        self.standing = limits
        self._rests.pop(STANDING_PRODUCT, None)
        return StandingOrder(self._account, version, *limits, now_s, 0)

    def state(self) -> dict[str, object]:
        """As JSON."""
        placed = [[n, p.version, p.side, p.quantity_wh, p.limit_price] for n, p in self.placed.items()]
        return {"placed": placed, "standing": self.standing, "rests": [list(rest) for rest in self._rests.items()]}

    def restore(self, state: dict[str, Any] | None) -> None:
        """From JSON; what cannot be read is bid for anew."""
        try:
            rows = state["placed"] if state else []
            self.placed = {int(row[0]): Placed(*(int(v) for v in row[1:])) for row in rows}
            standing = state["standing"] if state else None
            self.standing = (int(standing[0]), int(standing[1])) if standing else None
            self._rests = {int(row[0]): int(row[1]) for row in (state or {}).get("rests", [])}
        except (KeyError, TypeError, ValueError, IndexError):
            self.placed, self.standing, self._rests = {}, None, {}
