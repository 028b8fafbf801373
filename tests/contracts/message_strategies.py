"""Random legal messages of every kind, derived from the dataclasses."""

from __future__ import annotations

from hypothesis import strategies as st

from contracts.eip712 import LocalValueError, Message, layout
from contracts.messages import ACCOUNT_LIMIT, FORCED_VERSION, MESSAGES, Bid
from contracts.units import PRICE_LIMIT_MICRO_PER_KWH, PRICE_TICK_MICRO_PER_KWH, QUANTITY_LIMIT_WH

_PRICE = st.integers(
    -PRICE_LIMIT_MICRO_PER_KWH // PRICE_TICK_MICRO_PER_KWH, PRICE_LIMIT_MICRO_PER_KWH // PRICE_TICK_MICRO_PER_KWH
).map(lambda ticks: ticks * PRICE_TICK_MICRO_PER_KWH)
_NARROW: dict[str, st.SearchStrategy[int]] = {
    "account": st.integers(1, ACCOUNT_LIMIT - 1),
    "side": st.integers(0, 1),
    "quantity_wh": st.integers(0, QUANTITY_LIMIT_WH),
    "limit_price": _PRICE,
    "max_buy_price": _PRICE,
    "min_sell_price": _PRICE,
    "version": st.integers(0, FORCED_VERSION - 1),
    "clock": st.integers(0, 3),
    "kind": st.integers(0, 2),
    "stream": st.integers(0, 1),
    "reason": st.integers(0, 2),
    "outcome": st.integers(0, 10),
    "count": st.integers(1, 600),
}


def _build(message_type: type[Message], values: list[int | bytes]) -> Message | None:
    names = [name for name, _ in layout(message_type).columns]
    fields = dict(zip(names, values, strict=True))
    if message_type is Bid:
        fields["product"] = int(fields["product"]) % 2**40 * 1024 + 1
    for low, high in (
        ("first_sequence", "last_sequence"),
        ("first_taken_at_s", "last_taken_at_s"),
        ("issued_at_s", "valid_until_s"),
    ):
        if high in fields and low in fields:
            fields[low], fields[high] = sorted((int(fields[low]), int(fields[high])))
    try:
        return message_type(**fields)  # type: ignore[arg-type]
    except LocalValueError:
        return None


def messages_of(message_type: type[Message]) -> st.SearchStrategy[Message]:
    """Legal messages of one kind with values over the whole range of every field."""
    columns = [
        st.binary(min_size=kind.width, max_size=kind.width)
        if kind.is_bytes
        else _NARROW.get(name, st.integers(kind.low, kind.high))
        for name, kind in layout(message_type).columns
    ]
    return st.tuples(*columns).map(lambda values: _build(message_type, list(values))).filter(lambda m: m is not None)  # type: ignore[return-value]


any_message = st.one_of([messages_of(message_type) for message_type in MESSAGES])
