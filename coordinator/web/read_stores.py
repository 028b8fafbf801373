"""One read-only connection for every thread that serves requests."""

from __future__ import annotations

import threading
from pathlib import Path

from coordinator.store.read_store import ReadStore
from coordinator.store.store import Store


class ReadStores:
    """Gives every thread its own connection."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()

    def get(self) -> Store:
        """This thread's connection."""
        found: ReadStore | None = getattr(self._local, "store", None)
        if found is None:
            found = self._local.store = ReadStore(self._path)
        return found
