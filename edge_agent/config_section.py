"""One table of a TOML file: hands out checked values, remembers what was asked for, notes what is wrong.

Nothing is guessed: a key nobody asked for is an error, because a misspelt limit must not be silently without effect.
"""

from __future__ import annotations

from typing import Any

from contracts.topics import NAME_PATTERN


class Section:
    """One table. ``errors`` collects what is wrong, for all tables of a file."""

    def __init__(self, values: object, where: str, errors: list[str]) -> None:
        self.values: dict[str, Any] = values if isinstance(values, dict) else {}
        self.where = where
        self.errors = errors
        self.seen: set[str] = set()
        if not isinstance(values, dict):
            self.refuse("must be a table")

    def refuse(self, text: str) -> None:
        """Notes what is wrong."""
        self.errors.append(f"[{self.where}] {text}")

    def _raw(self, key: str, required: bool) -> Any:
        self.seen.add(key)
        value = self.values.get(key)
        if value is None and required:
            self.refuse(f"{key} is missing")
        return value

    def integer(self, key: str, low: int, high: int, default: int | None = None, step: int = 1) -> int:
        """An integer from ``low`` to ``high``, a multiple of ``step``; required without a default."""
        value = self._raw(key, default is None)
        if value is None:
            return low if default is None else default
        if type(value) is not int or not low <= value <= high or value % step:
            multiple = f", a multiple of {step}" if step > 1 else ""
            self.refuse(f"{key} is {value!r}, allowed are integers from {low} to {high}{multiple}")
            return low
        return value

    def optional_integer(self, key: str, low: int, high: int) -> int | None:
        """The same, None where it is absent."""
        return self.integer(key, low, high) if key in self.values else None

    def number(self, key: str, default: float, low: float = 0.0) -> float:
        """A number from ``low``."""
        value = self._raw(key, False)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value < 1e12:
            self.refuse(f"{key} is {value!r}, allowed are numbers from {low:g}")
            return default
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self._raw(key, False)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.refuse(f"{key} is {value!r}, allowed are true and false")
            return default
        return value

    def text(self, key: str, default: str | None = None, among: tuple[str, ...] = ()) -> str:
        """A text, one of ``among`` where that is given; required without a default."""
        value = self._raw(key, default is None)
        if value is None:
            return default or ""
        if not isinstance(value, str) or not value or (among and value not in among):
            allowed = f"one of {', '.join(among)}" if among else "a text"
            self.refuse(f"{key} is {value!r}, allowed is {allowed}")
            return default or ""
        return value

    def name(self, key: str) -> str:
        """A name as topics carry it."""
        value = self.text(key)
        if value and not NAME_PATTERN.fullmatch(value):
            self.refuse(f"{key} is {value!r}, allowed are a-z, 0-9, - and _, at most 32")
        return value

    def address(self, key: str) -> bytes:
        """20 bytes of an address."""
        value = self.text(key)
        try:
            address = bytes.fromhex(value.removeprefix("0x"))
        except ValueError:
            address = b""
        if value and (len(address) != 20 or not value.startswith("0x")):
            self.refuse(f"{key} is {value!r}, allowed is 0x and 40 hexadecimal digits")
        return address if len(address) == 20 else bytes(20)

    def done(self) -> None:
        """Refuses every key that nobody asked for."""
        for key in self.values:
            if key not in self.seen:
                self.refuse(f"unknown key {key!r}")
