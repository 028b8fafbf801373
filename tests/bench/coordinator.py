"""The coordinator's figures: from a bid to its receipt, and how long its command line takes to start."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench.figure import Figure, measured
from tests.coordinator.test_shell_broker import bid_to_receipt_s

BIDS = 200


def figures() -> Iterator[Figure]:
    """Over the embedded broker on loopback, commit to disk included."""
    with tempfile.TemporaryDirectory() as folder:
        took = sorted(asyncio.run(bid_to_receipt_s(Path(folder), BIDS)))
    yield measured("bid to receipt, half of them", took[BIDS // 2] * 1e3, "ms")
    yield measured("bid to receipt, 99 of 100", took[BIDS * 99 // 100] * 1e3, "ms", at_most=50)
    yield measured("start of the command line", min(_import_s() for _ in range(5)), "s", at_most=0.4)


def _import_s() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import coordinator.cli"], check=True)
    return time.perf_counter() - began
