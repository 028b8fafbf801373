"""The lease file next to the key: JSON, written beside, fsynced, renamed, and the folder fsynced."""

from __future__ import annotations

import json
import os
from pathlib import Path

from edge_agent.delivery.sequence import Leases, Mark, Run

# A home has a handful of counters; a file beyond this is not ours.
_LIMIT_BYTES = 1 << 20


class LeaseFile:
    """Keeps leases in one file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read_leases(self) -> Leases | None:
        """What the file holds; empty where there is none, None for one that is damaged."""
        try:
            if self._path.stat().st_size > _LIMIT_BYTES:
                return None
            document = json.loads(self._path.read_text(encoding="utf-8"))
            numbers = {str(name): int(value) for name, value in document["numbers"].items()}
            marks = {int(meter): Mark(*row) for meter, row in document["marks"].items()}
            runs = {str(name): [Run(*row) for row in rows] for name, rows in document.get("runs", {}).items()}
        except FileNotFoundError:
            return Leases()
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return Leases(numbers, marks, runs)

    def write_leases(self, leases: Leases) -> bool:
        """Replaces the file durably; False where the disk does not take it."""
        text = json.dumps(
            {
                "numbers": leases.numbers,
                "marks": {str(meter): mark.row() for meter, mark in leases.marks.items()},
                "runs": {name: [run.row() for run in runs] for name, runs in leases.runs.items()},
            }
        )
        beside = self._path.with_name(self._path.name + ".new")
        try:
            with beside.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self._path)
            folder = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError:
            return False
        return True
