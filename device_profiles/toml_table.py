"""Reading one TOML table key by key, collecting every fault instead of stopping at the first.

Each getter returns the value, or a harmless stand-in after noting the fault, so that reading can go on; the
caller refuses the whole file at the end when the shared list of errors is not empty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

__all__ = ["Table"]

# No unit is further from ours than this; a wider exponent would only make huge integers.
_SCALE_BOUND = Decimal(10**12)


class Table:
    """A table, where it stands in the file, and the file's list of errors."""

    def __init__(self, values: object, where: str, errors: list[str]) -> None:
        self.where = where
        self.errors = errors
        self._seen: set[str] = set()
        self._values: Mapping[str, Any] = {}
        if isinstance(values, Mapping):
            self._values = values
        else:
            errors.append(f"{where}: must be a table")

    def refuse(self, why: str) -> None:
        """Note a fault of this table."""
        self.errors.append(f"{self.where}: {why}")

    def has(self, key: str) -> bool:
        """Whether the key is written."""
        return key in self._values

    def names(self) -> list[str]:
        """All keys written, in file order."""
        return list(self._values)

    def raw(self, key: str) -> object:
        """The value as TOML gave it, None where absent; counts as known."""
        self._seen.add(key)
        return self._values.get(key)

    def integer(self, key: str, low: int, high: int, default: int | None = None) -> int:
        """An integer within [low, high]; required when there is no default."""
        value = self.raw(key)
        if value is None:
            if default is None:
                self.refuse(f"{key} is missing")
                return low
            return default
        if isinstance(value, bool) or not isinstance(value, int):
            self.refuse(f"{key} must be an integer")
            return low
        if not low <= value <= high:
            self.refuse(f"{key} is {value}, allowed are {low} to {high}")
            return low
        return value

    def optional_integer(self, key: str, low: int, high: int) -> int | None:
        """An integer within [low, high], or None where absent."""
        return self.integer(key, low, high) if self.has(key) else None

    def flag(self, key: str) -> bool:
        """True or false; false where absent."""
        value = self.raw(key)
        if value is None or isinstance(value, bool):
            return bool(value)
        self.refuse(f"{key} must be true or false")
        return False

    def integers(self, key: str, low: int, high: int, default: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """A list of integers, or a single one meaning a list of one."""
        value = self.raw(key)
        if value is None and default is not None:
            return default
        items = [value] if isinstance(value, int) and not isinstance(value, bool) else value
        if not isinstance(items, list) or not items:
            self.refuse(f"{key} must be a list of integers")
            return ()
        for item in items:
            if isinstance(item, bool) or not isinstance(item, int) or not low <= item <= high:
                self.refuse(f"{key} holds {item!r}, allowed are integers from {low} to {high}")
                return ()
        return tuple(items)

    def text(self, key: str, among: Sequence[str] = (), default: str | None = None) -> str:
        """A non-empty text, one of `among` where given."""
        value = self.raw(key)
        if value is None and default is not None:
            return default
        stand_in = among[0] if among else "?"
        if value is None:
            self.refuse(f"{key} is missing")
            return stand_in
        if not isinstance(value, str) or not value:
            self.refuse(f"{key} must be a text")
            return stand_in
        if among and value not in among:
            self.refuse(f"{key} is {value!r}, allowed are {', '.join(among)}")
            return stand_in
        return value

    def fraction(self, key: str) -> tuple[int, int]:
        """A positive exact number as numerator and denominator; 1 where absent."""
        value = self.raw(key)
        if value is None:
            return (1, 1)
        finite = isinstance(value, Decimal) and value.is_finite()
        whole = isinstance(value, int) and not isinstance(value, bool)
        if isinstance(value, (int, Decimal)) and (finite or whole) and 1 / _SCALE_BOUND <= value <= _SCALE_BOUND:
            return value.as_integer_ratio()
        self.refuse(f"{key} must be a number above 0, from 1e-12 to 1e12")
        return (1, 1)

    def table(self, key: str) -> Table:
        """A table inside this one, empty where absent."""
        value = self.raw(key)
        return Table({} if value is None else value, f"{self.where}.{key}".lstrip("."), self.errors)

    def tables(self, key: str) -> list[Table]:
        """A list of tables, empty where absent."""
        value = self.raw(key)
        if value is None:
            return []
        where = f"{self.where}.{key}".lstrip(".")
        if not isinstance(value, list):
            self.errors.append(f"{where}: must be a list of tables")
            return []
        return [Table(item, f"{where}[{i}]", self.errors) for i, item in enumerate(value)]

    def done(self) -> None:
        """Every key nobody asked for is an error: a misspelt key must not be silently without effect."""
        for key in self._values:
            if key not in self._seen:
                self.refuse(f"unknown key {key!r}")
