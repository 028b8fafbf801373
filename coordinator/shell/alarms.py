"""Alarms for people: counted, the last ones kept for the page, each written to stderr once in a while.

A fault that repeats every second must not fill a disk: the same code is written at most once a minute, with the number
of times it was held back; counters and the page lose nothing.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TextIO

KEPT = 100
"""Alarms a page shows; older ones are in the journal."""
QUIET_S = 60


@dataclass(frozen=True, slots=True)
class RaisedAlarm:
    """One alarm and when it was raised, in wall time."""

    at_s: int
    code: str
    text: str


class AlarmLog:
    """Takes alarms from any thread."""

    def __init__(self, *, as_json: bool = False, out: TextIO | None = None) -> None:
        self.counters: Counter[str] = Counter()
        self.recent: deque[RaisedAlarm] = deque(maxlen=KEPT)
        self.on_alarm: list[Callable[[RaisedAlarm], None]] = []
        self._as_json = as_json
        self._out = out
        self._written_at: dict[str, float] = {}
        self._held_back: Counter[str] = Counter()

    def report(self, code: str, text: str) -> None:
        """Raises an alarm: ``code`` is a fixed word, ``text`` a sentence with the evidence."""
        alarm = RaisedAlarm(int(time.time()), code, text)
        self.counters[code] += 1
        self.recent.append(alarm)
        for listener in self.on_alarm:
            listener(alarm)
        now = time.monotonic()
        if now - self._written_at.get(code, -QUIET_S) < QUIET_S:
            self._held_back[code] += 1
            return
        self._written_at[code] = now
        self._write(alarm, self._held_back.pop(code, 0))

    def _write(self, alarm: RaisedAlarm, held_back: int) -> None:
        if self._as_json:
            line = {"level": "alarm", "at_s": alarm.at_s, "code": alarm.code, "text": alarm.text}
            text = json.dumps(line | ({"held_back": held_back} if held_back else {}))
        else:
            text = f"ALARM {alarm.code}: {alarm.text}" + (f" ({held_back} more held back)" if held_back else "")
        print(text, file=self._out or sys.stderr, flush=True)
