"""What a liar among the watchers could bring: true calls with some of their evidence replaced.

He denies leaves that are there, shows another account's, another auction's, another header's, swaps neighbours, brings
other signatures, receipts and lists, and moves indices. Arguments are known by their shape: a struct is replaced by
another of the same shape out of all calls that were ever collected.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from contracts.evidence import Call

Shape = Any
LEAF_FIELDS = 3
"""``present``, content and path: the structs that can be denied have them, an auction's its index besides."""


def shape_of(argument: Any) -> Shape:
    """The nesting and the kinds of an argument; lists count by their elements' kind."""
    if isinstance(argument, tuple):
        return tuple(shape_of(part) for part in argument)
    if isinstance(argument, list):
        return "list"
    return type(argument).__name__ if not isinstance(argument, int) or isinstance(argument, bool) else "int"


@dataclass
class Forger:
    """Collects true calls, and makes false ones of them."""

    rng: random.Random
    calls: dict[str, list[Call]] = field(default_factory=dict)
    pool: dict[Shape, list[Any]] = field(default_factory=dict)

    def learn(self, calls: Iterable[Call], keep: float) -> None:
        """Takes a part of the calls, and every piece of evidence in them."""
        for call in calls:
            if self.rng.random() < keep:
                self.calls.setdefault(call.function, []).append(call)
                for argument in call.arguments:
                    self._collect(argument)

    def _collect(self, argument: Any) -> None:
        if isinstance(argument, tuple) and len(self.pool.setdefault(shape_of(argument), [])) < 2_000:
            self.pool[shape_of(argument)].append(argument)
        for part in argument if isinstance(argument, tuple) else ():
            self._collect(part)

    def forged(self, count: int) -> Iterator[Call]:
        """So many false calls, of each function as many, each with one to three pieces replaced."""
        functions = sorted(self.calls)
        for number in range(count):
            call = self.rng.choice(self.calls[functions[number % len(functions)]])
            for _ in range(self.rng.choice((1, 1, 2, 3))):
                place = self.rng.randrange(len(call.arguments))
                told = (*call.arguments[:place], self._other(call.arguments[place]), *call.arguments[place + 1 :])
                call = replace(call, arguments=told)
            yield call

    def _other(self, argument: Any) -> Any:
        if isinstance(argument, tuple):
            return self._other_struct(argument)
        if isinstance(argument, list):
            return argument[1:] if argument and self.rng.random() < 0.5 else [*argument, *argument[:1]]
        if isinstance(argument, bytes):
            flipped = bytes([argument[0] ^ 1]) + argument[1:] if argument else b"\x01"
            return self.rng.choice((b"", flipped, argument + b"\x00"))
        if isinstance(argument, bool):
            return not argument
        return max(0, argument + self.rng.choice((-1, 1, 1 << 12, 1 << 20)))

    def _other_struct(self, argument: tuple[Any, ...]) -> Any:
        dice = self.rng.random()
        if dice < 0.35 and isinstance(argument[0], bool):
            return (not argument[0], *argument[1:])
        if dice < 0.8:
            return self.rng.choice(self.pool.get(shape_of(argument)) or [argument])
        place = self.rng.randrange(len(argument))
        return (*argument[:place], self._other(argument[place]), *argument[place + 1 :])
