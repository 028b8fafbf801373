"""The public records as files: ``<directory>/<interval>.json``, whole or not at all.

A record is on disk, synchronised, before its header is submitted: data behind a posted header is never missing.
"""

from __future__ import annotations

import os
from pathlib import Path


def publish_record(directory: Path, interval: int, record: bytes) -> Path:
    """Writes the record under its final name in one step; the path. An equal file stays as it is."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{interval}.json"
    if path.exists() and path.read_bytes() == record:
        return path
    unfinished = directory / f".{interval}.json.{os.getpid()}"
    with unfinished.open("wb") as file:
        file.write(record)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return path
