"""One measured figure with its goal and its reference, and how a list of them is printed.

An area is a module ``tests/bench/<area>.py`` with ``def figures() -> Iterator[Figure]``. Each figure is
measured when it is asked for, and printed as soon as it is there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TextIO


@dataclass(frozen=True)
class Figure:
    """A measured value. Without a goal ``met`` is None; without a reference the last three are None."""

    figure: str
    """What was measured, as a reader would say it."""
    value: float
    unit: str
    goal: str | None = None
    """The goal in words: ``"<= 10"``."""
    met: bool | None = None
    reference: str | None = None
    """What it is compared with: another program, an earlier version, a physical limit."""
    reference_value: float | None = None
    """The reference's value in the same unit, measured on the same machine where that is possible."""
    ratio: float | None = None
    """value / reference_value."""


def measured(
    figure: str,
    value: float,
    unit: str,
    *,
    at_most: float | None = None,
    at_least: float | None = None,
    reference: tuple[str, float] | None = None,
) -> Figure:
    """A figure judged against its goal. Raises ValueError when a goal points both ways."""
    if at_most is not None and at_least is not None:
        raise ValueError(f"{figure}: a figure has one goal")
    goal: str | None = None
    met: bool | None = None
    if at_most is not None:
        goal, met = f"<= {at_most:g}", value <= at_most
    if at_least is not None:
        goal, met = f">= {at_least:g}", value >= at_least
    name, reference_value = reference if reference is not None else (None, None)
    ratio = value / reference_value if reference_value else None
    return Figure(figure, value, unit, goal, met, name, reference_value, ratio)


def number_text(value: float | None) -> str:
    """At most four significant digits, thousands separated, nothing where there is no value."""
    if value is None:
        return ""
    if value == 0 or 1_000 <= abs(value) < 1e15:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def figure_row(figure: Figure) -> tuple[str, ...]:
    """The cells of one line of the table."""
    verdict = {True: "yes", False: "NO", None: ""}[figure.met]
    reference = figure.reference or ""
    if figure.reference_value is not None:
        reference = f"{reference}: {number_text(figure.reference_value)}"
    cells = (figure.figure, number_text(figure.value), figure.unit, figure.goal or "", verdict, reference)
    return (*cells, number_text(figure.ratio))


HEADINGS = ("figure", "value", "unit", "goal", "met", "reference", "ratio")


def print_table(figures: Iterable[Figure], out: TextIO) -> bool:
    """Write a Markdown table; True when no goal is missed."""
    kept = list(figures)
    rows = [HEADINGS, *(figure_row(figure) for figure in kept)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    padded = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    lines = ["| " + " | ".join(row) + " |" for row in padded]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    out.write("\n".join(lines) + "\n")
    return all(figure.met is not False for figure in kept)


def print_json(figures: Iterable[Figure], out: TextIO) -> bool:
    """Write one object per line as soon as it is measured; True when no goal is missed."""
    good = True
    for figure in figures:
        out.write(json.dumps(asdict(figure)) + "\n")
        out.flush()
        good = good and figure.met is not False
    return good
