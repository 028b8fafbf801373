"""What must be said before a meter speaks: nothing, or the opening of IEC 62056-21 mode C. (M-Bus: `mbus_line.py`.)

A question is asked over and over, once a poll. It hears what came since it spoke through `Heard`, which the reader of
the line fills; the answer itself goes to the decoder like any other telegram.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine
from typing import Any

from edge_agent.shell.byte_line import ByteLine
from firmware_bridge.iec62056 import acknowledgement, opening, rate_after

IEC_IDENTITY_S = 3.0
"""A meter answers within 1.5 s, and 16 characters of identification take 0.5 s at 300 baud."""
IEC_REACTION_S = 0.3
"""Between 0.2 and 1.5 s after the identification."""
IEC_SWITCH_S = 0.05
"""The last character may still be in the adapter when the system says that it is sent; the meter waits 0.2 s."""
IEC_ANSWER_S = 90.0
"""2.5 kB at 300 baud; a list rarely has more."""
IEC_BAUD = 300
QUIET_S = 2.0
"""No standard lets a slave think for longer, or pause within its answer: IEC 62056-21 ends it after 1.5 s."""
TAIL_BYTES = 64

_IDENTITY = re.compile(rb"/[A-Za-z]{3}([0-9A-I])[^\r\n]{0,32}\r\n")


class Heard:
    """What came on the line since the last question: the last bytes of it, and whether a telegram was among it."""

    def __init__(self) -> None:
        self._tail = bytearray()
        self._telegram = asyncio.Event()
        self._bytes = asyncio.Event()

    def begin(self) -> None:
        """A question is about to be asked."""
        self._tail.clear()
        self._telegram.clear()

    def came(self, chunk: bytes, telegram: bool) -> None:
        """The reader tells what it read."""
        self._tail += bytes(byte & 0x7F for byte in chunk[-TAIL_BYTES:])  # the highest bit may be a parity
        del self._tail[:-TAIL_BYTES]
        if telegram:
            self._telegram.set()
        self._bytes.set()

    async def answer(self, limit_s: float) -> None:
        """Until a telegram came, or nothing more does, but no longer than the limit."""
        end_s = asyncio.get_running_loop().time() + limit_s
        while not self._telegram.is_set() and asyncio.get_running_loop().time() < end_s:
            self._bytes.clear()
            if not await _within(self._bytes.wait(), QUIET_S):
                return

    async def match(self, pattern: re.Pattern[bytes], limit_s: float) -> re.Match[bytes] | None:
        """The first match in what came; None where there is none within the time."""
        loop = asyncio.get_running_loop()
        end_s = loop.time() + limit_s
        while (found := pattern.search(self._tail)) is None:
            self._bytes.clear()
            if not await _within(self._bytes.wait(), end_s - loop.time()):
                return None
        return found


async def _within(waiting: Coroutine[Any, Any, Any], limit_s: float) -> bool:
    try:
        async with asyncio.timeout(max(limit_s, 0)):
            await waiting
    except TimeoutError:
        return False
    return True


Question = Callable[[ByteLine, Heard], Coroutine[Any, Any, None]]


async def ask_iec62056(line: ByteLine, heard: Heard) -> None:
    """Opening, identification, acknowledgement with the meter's speed, its list. Raises OSError.

    Over TCP nobody can change the speed of the line, so the meter is asked to keep 300 baud.
    """
    heard.begin()
    await line.write(opening())
    found = await heard.match(_IDENTITY, IEC_IDENTITY_S)
    if found is None:
        return
    keep_rate = not line.can_switch
    answer = acknowledgement(found[0], keep_rate)
    if answer:
        await asyncio.sleep(IEC_REACTION_S)
        await line.write(answer)
    if not keep_rate:
        await asyncio.sleep(IEC_SWITCH_S)
        line.set_baud(rate_after(found[0]))
    try:
        await heard.answer(IEC_ANSWER_S)
    finally:
        line.set_baud(IEC_BAUD)
