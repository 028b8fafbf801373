"""What an account may still owe: the worst cost of its open bids and undelivered positions.

A public function of the account's own leaves, so that too little and too much are both provable. A buyer owes his
limit; a seller who does not deliver owes the import tariff less what he was to earn.
"""

from __future__ import annotations

from collections.abc import Iterable

from contracts.messages import Side
from contracts.units import amount_nano


def bid_reserve_nano(side: int, open_wh: int, limit_price: int, intervals: int, tariff_import: int) -> int:
    """Worst cost of an open bid over the ``intervals`` of its product."""
    worst_price = limit_price if side == Side.BUY else tariff_import - limit_price
    return max(0, amount_nano(worst_price, open_wh)) * intervals


def position_reserve_nano(position_wh: int, cost_nano: int, intervals: int, tariff_import: int) -> int:
    """Worst cost of a position over its ``intervals`` that are not settled yet."""
    undelivered = amount_nano(tariff_import, max(0, -position_wh))
    return max(0, cost_nano + undelivered) * intervals


def reserve_nano(
    bids: Iterable[tuple[int, int, int, int]], positions: Iterable[tuple[int, int, int]], tariff_import: int
) -> int:
    """Reserve of an account: bids as (side, open Wh, limit, intervals), positions as (Wh, cost, intervals left)."""
    return sum(bid_reserve_nano(*bid, tariff_import) for bid in bids) + sum(
        position_reserve_nano(*position, tariff_import) for position in positions
    )
