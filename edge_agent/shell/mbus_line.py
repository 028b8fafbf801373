"""The M-Bus meters of one line, asked one after another.

    due? the healthy before the doubtful, the longest overdue first
    reset (select by number) -> E5 -> request -> part of the answer -> request with the other bit -> ... -> Sample

Every meter has its own pace, decoder and evidence. One that is silent costs the others two waits for a first byte a
turn, and is asked less and less often, as a unit on a Modbus line. A late answer is thrown away before the next
question, and one that comes during it is told by its address or number.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from edge_agent.config import MeterConfig
from edge_agent.effects import Counters, Sample, WriteResult
from edge_agent.shell.byte_line import ByteLine
from edge_agent.shell.clock import Clock
from edge_agent.shell.modbus import BACK_OFF_S
from edge_agent.shell.telegrams import (
    BYTES_PER_S,
    LEAST_PAUSE_S,
    REOPEN_SILENCES,
    SILENCE_S,
    Pace,
    TelegramTask,
    count_refusals,
    serial_settings,
)
from firmware_bridge.mbus import BROADCAST, SELECTED, MbusDecoder, data_request, reset_request, select_request
from firmware_bridge.telegram import Telegram

_CHARACTER_BITS = 11
_REACTION_BITS = 330
_REACTION_S = 0.05
"""A slave begins to answer within 330 bit times and 50 ms."""
ADAPTER_S = 0.35
"""What USB adapters, level converters and serial servers may add to it."""
FRAME_BYTES = 261
"""The longest frame: 1.2 s at 2400 baud, 9.6 s at 300."""
PAUSE_S = 0.5
"""Within a frame there is no pause; a serial server makes some."""
STALE_CHUNKS = 16
"""Chunks thrown away before a question; whoever sends more than 64 kB unasked is left to the decoder."""


class _Meter:
    """One meter on the line; ``trouble`` says why its last turn gave nothing."""

    def __init__(self, config: MeterConfig, speed: float) -> None:
        self.config = config
        self.pace = Pace(config.poll_s, speed)
        self.failures = 0
        self.trouble = ""
        self.open_until_s = 0.0
        self._speed = speed

    def at_s(self, now_s: float) -> float:
        """When its next turn is, by the loop's clock."""
        return max(now_s + self.pace.wait_s(), self.open_until_s)

    def failed(self, trouble: str, now_s: float) -> None:
        """Its turn was in vain: not before its next period, and after ever longer pauses."""
        self.trouble = trouble
        self.failures += 1
        pause_s = BACK_OFF_S[min(self.failures, len(BACK_OFF_S)) - 1]
        self.open_until_s = now_s + max(pause_s, self.config.poll_s) / self._speed

    def decoder(self) -> MbusDecoder:
        """A fresh one for every turn, so that nothing of an earlier answer is left in it."""
        config = self.config
        anybody = bool(config.secondary_address) or config.unit == BROADCAST
        return MbusDecoder(None if anybody else config.unit, config.secondary_address, config.telegrams)


class MbusTask(TelegramTask):
    """Everything on one M-Bus line."""

    def __init__(
        self,
        meters: Sequence[MeterConfig],
        clock: Clock,
        on_sample: Callable[[Sample], None],
        on_written: Callable[[WriteResult], None],
        counters: Counters | None = None,
    ) -> None:
        super().__init__(meters[0], clock, on_sample, on_written, counters)
        self._meters = [_Meter(meter, clock.speed) for meter in meters]
        baud = serial_settings(meters[0]).baud
        self._first_byte_s = _REACTION_BITS / baud + _REACTION_S + ADAPTER_S
        self._answer_s = self._first_byte_s + 1.5 * FRAME_BYTES * _CHARACTER_BITS / baud
        self._heard_at_s = 0.0

    def names(self) -> list[str]:
        """The meters behind it."""
        return [meter.config.name for meter in self._meters]

    async def _serve(self, line: ByteLine) -> None:
        """Until the line is gone, or nobody on it says anything. Raises OSError or TimeoutError."""
        loop = asyncio.get_running_loop()
        self._heard_at_s, self._trouble = loop.time(), ""
        longest_s = max(meter.pace.silence_s for meter in self._meters) * REOPEN_SILENCES
        while loop.time() - self._heard_at_s < max(longest_s / self._clock.speed, SILENCE_S):
            now_s = loop.time()
            due = [meter for meter in self._meters if meter.at_s(now_s) <= now_s]
            if due:
                await self._turn(min(due, key=lambda meter: (meter.failures > 0, meter.at_s(now_s))), line)
                wait_s = 0.0
            else:
                wait_s = min(meter.at_s(now_s) for meter in self._meters) - now_s
            await asyncio.sleep(max(wait_s, LEAST_PAUSE_S))
        raise TimeoutError("nobody on the line says anything")

    async def _turn(self, meter: _Meter, line: ByteLine) -> None:
        decoder = meter.decoder()
        try:
            telegram = await self._answer_of(meter, line, decoder)
        finally:
            refused = [refusal.value for refusal, times in decoder.refused.items() if times]
            count_refusals(decoder.refused, self._counters)
        if telegram is None:
            self._counters.count("mbus_turns_failed")
            told = f"its answer is none: {', '.join(refused)}" if refused else "no answer"
            meter.failed(told, asyncio.get_running_loop().time())
            return
        meter.failures, meter.trouble = 0, ""
        meter.pace.given()
        self._took += 1
        self._counters.count("telegrams")
        serial, now_ms = telegram.texts.get("serial"), self._clock.now_ms()
        self._on_sample(Sample(meter.config.name, now_ms, telegram.values, serial=serial, evidence=telegram.evidence))

    async def _answer_of(self, meter: _Meter, line: ByteLine, decoder: MbusDecoder) -> Telegram | None:
        """One whole answer; None where there is none. Raises OSError or TimeoutError for the line."""
        await self._throw_away(line)
        secondary = meter.config.secondary_address
        address = SELECTED if secondary else meter.config.unit
        opening = [reset_request(address)] + ([select_request(secondary)] if secondary else [])
        for question in opening:
            before = decoder.acknowledged
            await line.write(question)
            await self._hear(line, decoder, lambda n=before: decoder.acknowledged > n)  # type: ignore[misc]
            acknowledged = decoder.acknowledged > before
        if secondary and not acknowledged:
            return None  # nobody has that number; some meters do not acknowledge a reset, but a selection they must
        for part in range(meter.config.telegrams):
            answers = decoder.answers
            await line.write(data_request(address, frame_count=part % 2 == 0))
            telegrams = await self._hear(line, decoder, lambda n=answers: decoder.answers > n)  # type: ignore[misc]
            if telegrams:
                return telegrams[-1]
            if not decoder.more_follows or decoder.answers == answers:
                return None
        return None

    async def _throw_away(self, line: ByteLine) -> None:
        """What came since the last turn answers nothing we ask now. Raises OSError."""
        for _ in range(STALE_CHUNKS):
            try:
                async with asyncio.timeout(0):
                    await line.read()
            except TimeoutError:
                return
            self._counters.count("mbus_late")

    async def _hear(self, line: ByteLine, decoder: MbusDecoder, done: Callable[[], bool]) -> list[Telegram]:
        """The telegrams that come until it is ``done``, or nothing does. Raises OSError."""
        loop, found = asyncio.get_running_loop(), list[Telegram]()
        end_s, limit_s = loop.time() + self._answer_s, self._first_byte_s
        while not done() and loop.time() < end_s:
            try:
                async with asyncio.timeout(limit_s):
                    chunk = await line.read()
            except TimeoutError:
                break
            self._heard_at_s, limit_s = loop.time(), PAUSE_S
            found += decoder.feed(chunk)
            await asyncio.sleep(len(chunk) / BYTES_PER_S)
        return found

    async def _watch(self) -> None:
        await asyncio.gather(*(self._watch_one(meter) for meter in self._meters))

    async def _watch_one(self, meter: _Meter) -> None:
        while True:
            await meter.pace.silence()
            fault = self._trouble or meter.trouble or f"no telegram for {meter.pace.silence_s:g} s"
            self._on_sample(Sample(meter.config.name, self._clock.now_ms(), None, fault))
