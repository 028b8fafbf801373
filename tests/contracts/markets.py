"""Random markets for property tests, and an exact optimiser that knows nothing of the clearing rule."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from scipy.optimize import linprog

from contracts.clearing_rules import Order
from contracts.codes import Side

TICK = 100


@st.composite
def markets(draw: st.DrawFn, side_limit: int = 40, quantity_limit: int = 50, price_limit: int = 12) -> list[Order]:
    """Up to ``side_limit`` orders a side with few distinct prices and quantities, so that ties are common."""
    buys = draw(st.integers(0, side_limit))
    sells = draw(st.integers(0, side_limit))
    accounts = draw(st.permutations(range(1, buys + sells + 1)))
    quantity = st.integers(0, quantity_limit)
    limit = st.integers(-price_limit, price_limit).map(lambda ticks: ticks * TICK)
    return [
        Order(account, Side.BUY if place < buys else Side.SELL, draw(quantity), draw(limit))
        for place, account in enumerate(accounts)
    ]


def best_welfare(orders: list[Order]) -> float:
    """Largest sum of (buyers' limits - sellers' limits) x energy over all balanced fills: a linear programme."""
    if not orders:
        return 0.0
    sign = np.array([1 if o.side == Side.BUY else -1 for o in orders])
    limits = np.array([o.limit_price for o in orders])
    solved = linprog(
        -(sign * limits),
        A_eq=[sign],
        b_eq=[0],
        bounds=[(0, o.quantity_wh) for o in orders],
        method="highs",
    )
    assert solved.success, solved.message
    return -float(solved.fun)


def welfare(orders: list[Order], fills: dict[int, int]) -> int:
    """The welfare of given fills."""
    return sum((o.limit_price if o.side == Side.BUY else -o.limit_price) * fills.get(o.account, 0) for o in orders)
