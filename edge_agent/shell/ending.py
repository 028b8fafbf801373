"""Ends tasks for certain.

On Python 3.11 ``asyncio.wait_for`` loses a cancellation that arrives in the instant its inner future completes
(a known defect of CPython), in our code and in libraries; a task that was asked once may therefore live on. So it is
asked until it has gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

ASK_AGAIN_S = 0.2


async def end_all(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancels ``tasks`` and returns when all have ended, whatever they ended with."""
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=ASK_AGAIN_S)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # marks it as seen
