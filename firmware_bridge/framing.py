"""Whole frames out of a byte stream, with a bounded buffer and a way back after any damage.

    chunk -> look for the start mark -> `measure`: how long is this frame?
                 | not a frame: drop one byte of the mark, look for the next mark in what is already here
                 | longer than the limit: the same
                 | not all here yet: wait for the next chunk
                 `-> `take` the frame: a true one goes as a whole, a damaged one loses only the first byte

A damaged frame is searched again from its second byte, so that a lost end never costs the telegram after it. A
decoder gives its standard's start mark, limit and `measure`; the loop is here, once, for all of them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from .telegram import Refusal

__all__ = ["FrameBuffer", "FrameShape", "Measure", "Take"]

Measure = Callable[[bytes | bytearray, int], int | Refusal]
"""From a buffer that begins with a start mark, and the number of its bytes known to hold no end, to: the length of the
frame (above 0), 0 while it is not all here, or why this is no frame."""

Take = Callable[[bytes], Refusal | None]
"""What the decoder does with a frame; a refusal means that the bytes are not the frame they looked like."""


@dataclass(frozen=True, slots=True)
class FrameShape:
    """How a standard marks its frames.

    `start` finds a start mark; `start_bytes` is the most bytes it looks at. `limit` is the most bytes a frame may
    have. `filler` are bytes that may stand between frames without being noise.
    """

    start: re.Pattern[bytes]
    start_bytes: int
    limit: int
    measure: Measure
    filler: bytes = b""


class FrameBuffer:
    """The bytes of one stream that are not yet a frame; never more than `limit` between two calls of `feed`."""

    def __init__(self, shape: FrameShape, take: Take, refused: Counter[Refusal]) -> None:
        self._shape = shape
        self._take = take
        self._refused = refused
        self._buffer = bytearray()
        self._seen = 0
        self._in_noise = False

    @property
    def pending(self) -> bytes:
        """The bytes that wait for more."""
        return bytes(self._buffer)

    @property
    def buffered_bytes(self) -> int:
        """How many bytes wait for more, below the limit between two calls of `feed`."""
        return len(self._buffer)

    def feed(self, chunk: bytes) -> None:
        """Takes every frame that is whole with `chunk`. Large chunks are worked off in slices of the limit."""
        step = self._shape.limit
        for at in range(0, len(chunk), step):
            self._buffer += chunk[at : at + step]
            while self._advance():
                pass

    def _advance(self) -> bool:
        """One step through the buffer; whether another one may follow."""
        if not self._align():
            return False
        verdict = self._shape.measure(self._buffer, self._seen)
        if verdict == 0:
            if len(self._buffer) < self._shape.limit:
                self._seen = len(self._buffer)
                return False
            verdict = Refusal.OVERLONG
        if isinstance(verdict, int):
            refusal = self._take(bytes(self._buffer[:verdict])) if verdict <= self._shape.limit else Refusal.OVERLONG
            if refusal is None:
                self._drop(verdict)
                self._in_noise = False
                return True
            verdict = refusal
        self._refused[verdict] += 1
        # What is left of a refused frame is no news; noise is counted again after the next mark.
        self._in_noise = True
        self._drop(1)
        return True

    def _align(self) -> bool:
        """Drops what stands before the first start mark; whether there is one."""
        found = self._shape.start.search(self._buffer)
        # Without a mark, its first bytes may still stand at the end.
        keep_from = found.start() if found else max(0, len(self._buffer) - self._shape.start_bytes + 1)
        if keep_from:
            if not self._in_noise and self._buffer[:keep_from].strip(self._shape.filler):
                self._refused[Refusal.NOISE] += 1
                self._in_noise = True
            self._drop(keep_from)
        return found is not None

    def _drop(self, count: int) -> None:
        del self._buffer[:count]
        self._seen = 0
