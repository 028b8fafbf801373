"""Public captures of meters as data: `cases/<standard>/<name>.txt|.hex` with what they mean in `<name>.toml`.

`.txt` are text telegrams with LF for the CR LF of the wire, `.hex` are bytes. The TOML names the source and gives the
expected integers, computed apart from the decoders (decimal fractions by hand for text, a second parser for SML).
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "cases"


@dataclass(frozen=True)
class Case:
    """One capture; `unprotected` ones have no checksum and count from their second arrival on."""

    name: str
    raw: bytes
    source: str
    telegrams: int
    values: dict[str, int]
    texts: dict[str, str]
    taken_at_s: int | None
    unprotected: bool

    def __str__(self) -> str:
        return self.name


@cache
def cases(standard: str) -> tuple[Case, ...]:
    """Every case of a standard, by name."""
    return tuple(_read(path) for path in sorted((FOLDER / standard).glob("*.toml")))


def case(standard: str, name: str) -> Case:
    """The one called `name`."""
    return next(found for found in cases(standard) if found.name == name)


def _read(path: Path) -> Case:
    told: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    text = path.with_suffix(".txt")
    if text.is_file():
        raw = text.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    else:
        raw = bytes.fromhex(path.with_suffix(".hex").read_text(encoding="ascii"))
    return Case(
        name=path.stem,
        raw=raw,
        source=told["source"],
        telegrams=told["telegrams"],
        values=told["values"],
        texts=told["texts"],
        taken_at_s=told.get("taken_at_s"),
        unprotected=told.get("unprotected", False),
    )
