"""The store as the web and the auditor read it: committed rows only, read-only."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from coordinator.store.store import Store

StoreUnavailable = sqlite3.OperationalError
"""What SQLite raises for a file that is missing, locked by a running coordinator, or on a full disk."""


class ReadStore(Store):
    """A second, read-only connection to the store's file; sees what is committed and never blocks the writer."""

    def __init__(self, path: Path, *, snapshot: bool = False) -> None:
        """With ``snapshot`` all reads see the same moment, whatever the writer commits meanwhile."""
        self.path = str(path)
        self._connection = sqlite3.connect(
            f"file:{path}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
        )
        self._connection.execute("PRAGMA query_only=ON")
        if snapshot:
            self._connection.execute("BEGIN")
