"""``./dev bench [AREA] [--json]``: print the figures of an area; without an area, the list of areas.

Exit code 0 when every goal is met, 1 when one is missed, 2 on wrong usage.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from tests.bench.figure import print_json, print_table

NOT_AREAS = {"__init__", "__main__", "figure", "crowd"}


def areas() -> list[str]:
    """Names of the modules beside this one that measure something."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in NOT_AREAS)


def main(arguments: list[str]) -> int:
    """Run one area and print it."""
    parser = argparse.ArgumentParser(prog="./dev bench", description="Measured figures with goal and reference.")
    parser.add_argument("area", nargs="?", choices=areas(), help="what to measure")
    parser.add_argument("--json", action="store_true", help="one object per line")
    wanted = parser.parse_args(arguments)
    if wanted.area is None:
        print("\n".join(areas()))
        return 0
    figures = importlib.import_module(f"tests.bench.{wanted.area}").figures()
    printer = print_json if wanted.json else print_table
    return 0 if printer(figures, sys.stdout) else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
