"""JSON from strangers, with its depth bounded before it is parsed.

The parser recurses once a bracket; where a library has raised Python's recursion limit, deep nesting overflows the
stack and ends the process instead of raising RecursionError.
"""

from __future__ import annotations

import json
import re
from typing import Any

NESTING_LIMIT = 32
"""Our deepest document nests nine levels."""

_BRACKETS = re.compile(rb"[\[\]{}]")


def nesting_exceeds(text: bytes, limit: int = NESTING_LIMIT) -> bool:
    """Whether brackets open deeper than ``limit``; brackets in strings count as well."""
    depth = 0
    for bracket in _BRACKETS.findall(text):
        depth += 1 if bracket in b"[{" else -1
        if depth > limit:
            return True
    return False


def load_json(text: bytes) -> Any:
    """The document in ``text``. Raises ValueError for anything that is not JSON, or nests too deeply."""
    if nesting_exceeds(text):
        raise ValueError(f"nested deeper than {NESTING_LIMIT}")
    return json.loads(text)
