"""Public records from whoever serves them: coordinators' web interfaces, mirrors, folders. Kept once they fit.

    header.data_hash  →  own shelf  →  each source in turn  →  bytes that hash to it, or nothing

No source is trusted: what does not hash to the header's ``data_hash`` is not a record of it.
"""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from contracts.eip712 import keccak
from contracts.messages import Header

RECORD_LIMIT_BYTES = 256 * 1024 * 1024
"""A record of 100,000 accounts has some 100 MB; more is not read."""
FETCH_TIMEOUT_S = 20


class PublicRecords:
    """Calling it with a header gives its record, None while nobody serves it."""

    def __init__(self, sources: Sequence[str], shelf: Path | None = None) -> None:
        """``sources``: URLs of coordinators or mirrors of their interface, or folders; ``shelf``: where to keep copies.

        A folder holds ``<interval>.json``, as a coordinator writes them.
        """
        self._sources = list(sources)
        self._shelf = shelf

    def __call__(self, header: Header) -> bytes | None:
        """The record that ``header`` commits to."""
        kept = None if self._shelf is None else self._shelf / f"{header.data_hash.hex()}.json"
        if kept is not None and kept.exists() and keccak(kept.read_bytes()) == header.data_hash:
            return kept.read_bytes()
        for source in self._sources:
            record = _read(source, header.interval)
            if record is not None and keccak(record) == header.data_hash:
                if kept is not None:
                    _keep(kept, record)
                return record
        return None


def _read(source: str, interval: int) -> bytes | None:
    if not source.startswith(("http://", "https://")):
        path = Path(source) / f"{interval}.json"
        try:
            return path.read_bytes() if path.stat().st_size <= RECORD_LIMIT_BYTES else None
        except OSError:
            return None
    url = f"{source.rstrip('/')}/api/v1/batches/{interval}"
    try:
        with urllib.request.urlopen(url, timeout=FETCH_TIMEOUT_S) as answer:
            record: bytes = answer.read(RECORD_LIMIT_BYTES + 1)
    except (OSError, urllib.error.URLError, ValueError):
        return None
    return record if len(record) <= RECORD_LIMIT_BYTES else None


def _keep(path: Path, record: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_bytes(record)
    unfinished.replace(path)
