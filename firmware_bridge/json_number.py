"""JSON that keeps its decimals: parses a message within bounds and turns its numbers exactly into our integers.

Numbers stay decimal from the text to the last rounding, so that a counter of 12345.679 kWh is 12,345,679 Wh and not
what a binary float makes of it. NaN and infinities, which JSON does not have, are refused.
"""

from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction
from typing import Any

from firmware_bridge.telegram import Refusal

__all__ = ["PAYLOAD_LIMIT_BYTES", "exact", "parse", "whole"]

PAYLOAD_LIMIT_BYTES = 16 * 1024
"""The longest message of a meter seen, a full status of a three-phase one, has 3 kB."""
_DIGITS_LIMIT = 40
_SIZE_LIMIT = 20
"""A number beyond 10^20 or with more digits is no measurement, and costs memory to make an integer of."""
_FINEST = -30


def _refuse_constant(word: str) -> Any:
    raise ValueError(f"{word} is no JSON number")


def parse(payload: bytes) -> Any | Refusal:
    """The document, numbers as Decimal; the refusal where it is too long, no JSON or nested too deeply."""
    if len(payload) > PAYLOAD_LIMIT_BYTES:
        return Refusal.OVERLONG
    try:
        text = payload.decode("utf-8")
        return json.loads(text, parse_float=Decimal, parse_int=Decimal, parse_constant=_refuse_constant)
    except (ValueError, ArithmeticError, RecursionError):
        return Refusal.MALFORMED


def exact(value: Any) -> Fraction | None:
    """A JSON number, or a text that is one, as it stands; None for anything else."""
    if isinstance(value, str) and len(value) <= _DIGITS_LIMIT:
        try:
            value = Decimal(value.strip())
        except ArithmeticError:
            return None
    if not isinstance(value, Decimal) or not value.is_finite():
        return None
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int) or exponent < _FINEST or len(value.as_tuple().digits) > _DIGITS_LIMIT:
        return None
    return None if value and value.adjusted() > _SIZE_LIMIT else Fraction(value)


def whole(value: Any, factor: Fraction | int = 1) -> int | None:
    """``value * factor``, rounded to the nearest integer, half to even; None where there is no number."""
    number = exact(value)
    return None if number is None else round(number * factor)
