"""Meters that speak by themselves over a serial line or a TCP port: bytes in, at most one Sample a poll out.

    open -> read -> decoder -> newest telegram -> Sample with the telegram's hash and serial number
      ^ back-off after a line that is gone or stays without a byte

Silence is a Sample with a fault, told again and again, so that the core can sign what it holds. Time here is the
loop's own (times the clock's speed): a step of the clock neither hurries nor stops a meter.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from edge_agent.config import MeterConfig
from edge_agent.effects import Counters, Sample, WriteDevice, WriteResult
from edge_agent.shell.byte_line import ByteLine, SerialLine, SerialSettings, open_tcp
from edge_agent.shell.clock import Clock
from edge_agent.shell.ending import end_all
from edge_agent.shell.line_question import Heard, Question, ask_iec62056
from firmware_bridge.dsmr import DsmrDecoder
from firmware_bridge.iec62056 import Iec62056Decoder
from firmware_bridge.mbus import MbusDecoder
from firmware_bridge.sml import SmlDecoder
from firmware_bridge.telegram import Refusal, StreamDecoder, Telegram

SILENCE_S = 10.0
SILENT_POLLS = 3
"""A meter that sends every ten seconds (old DSMR, some IEC ones) is not silent between two telegrams."""
REOPEN_SILENCES = 6
"""Silences without any byte after which the line is opened anew: a serial server may have forgotten us."""
EARLY_SHARE = 0.2
"""How much of the period a telegram may come early and still count: a meter's second is not ours."""
BACK_OFF_S = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
LEAST_PAUSE_S = 0.05
BYTES_PER_S = 200_000
"""Twice the fastest serial line. Who sends more, by TCP, waits in his own buffers instead of taking our processor."""

_SETTINGS = {
    "p1": SerialSettings(115_200),
    "sml": SerialSettings(9_600),
    "iec62056": SerialSettings(9_600, 7, "E"),
    "mbus": SerialSettings(2_400, 8, "E"),
    "node": SerialSettings(115_200),
}
METER_CLOCK_MS = 300_000
"""A meter's clock that is further from ours is in another time zone than we were told, or has waited somewhere."""
_DECODERS: dict[str, Callable[[MeterConfig], StreamDecoder]] = {
    "p1": lambda meter: DsmrDecoder(meter.time_zone_s),
    "sml": lambda _: SmlDecoder(),
    "iec62056": lambda _: Iec62056Decoder(),
    "mbus": lambda _: MbusDecoder(),
}
_ASKED_BAUD = 300


def serial_settings(meter: MeterConfig) -> SerialSettings:
    """What the standard says, with what the installer says otherwise; without parity IEC 62056-21 has eight bits."""
    usual = _SETTINGS[meter.telegram]
    parity = meter.parity or usual.parity
    data_bits = 8 if parity == "N" else usual.data_bits
    return SerialSettings(meter.baud or usual.baud, data_bits, parity, meter.stop_bits or usual.stop_bits)


def question_of(meter: MeterConfig) -> Question | None:
    """How the meter is asked: IEC 62056-21 where its speed is 300 baud (mode C), others never (M-Bus: `mbus_line`)."""
    return ask_iec62056 if meter.telegram == "iec62056" and meter.baud == _ASKED_BAUD else None


class Pace:
    """At most one sample a period, on the average; and how long ago the last one was. ``speed`` as the clock's."""

    def __init__(self, poll_s: int, speed: float) -> None:
        self.silence_s = max(SILENCE_S, SILENT_POLLS * poll_s)
        self._poll_s, self._speed = float(poll_s), speed
        self._due_s: float | None = None
        self._heard_s: float | None = None

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time() * self._speed

    def is_due(self) -> bool:
        """Whether a sample may be given now."""
        return self._due_s is None or self._now_s() >= self._due_s - EARLY_SHARE * self._poll_s

    def given(self) -> None:
        """A sample was given now."""
        now_s = self._now_s()
        self._due_s = max(self._due_s or now_s, now_s) + self._poll_s
        self._heard_s = now_s

    async def silence(self) -> None:
        """Returns after a silence; the next call waits for the next one."""
        if self._heard_s is None:
            self._heard_s = self._now_s()
        while (left_s := self._heard_s + self.silence_s - self._now_s()) > 0:
            await asyncio.sleep(left_s / self._speed)
        self._heard_s = self._now_s()

    async def pause(self, attempt: int) -> None:
        """The back-off after a number of attempts in vain."""
        await asyncio.sleep(max(BACK_OFF_S[min(attempt, len(BACK_OFF_S) - 1)] / self._speed, LEAST_PAUSE_S))

    def wait_s(self) -> float:
        """Real seconds until the next sample may be given, negative where it might have been; before the first -inf."""
        return -math.inf if self._due_s is None else (self._due_s - self._now_s()) / self._speed

    async def until_due(self) -> None:
        """Returns when the next sample may be given, and at least a moment later."""
        await asyncio.sleep(max(self.wait_s(), LEAST_PAUSE_S))


def count_refusals(decoder_refused: dict[Refusal, int], counters: Counters) -> None:
    """Moves what a decoder has counted into the agent's counters, as ``telegram_<refusal>``."""
    for refusal, times in decoder_refused.items():
        if times:
            counters.count(f"telegram_{refusal.value}", times)
            decoder_refused[refusal] = 0


class TelegramTask:
    """One meter on one line. ``decoder`` and ``settings`` None: by the meter's configuration."""

    def __init__(
        self,
        meter: MeterConfig,
        clock: Clock,
        on_sample: Callable[[Sample], None],
        on_written: Callable[[WriteResult], None],
        counters: Counters | None = None,
        decoder: StreamDecoder | None = None,
    ) -> None:
        self._meter = meter
        self._clock = clock
        self._on_sample = on_sample
        self._on_written = on_written
        self._counters = Counters() if counters is None else counters
        self._decoder = decoder if decoder is not None else _DECODERS[meter.telegram](meter)
        self._question = question_of(meter)
        self._pace = Pace(meter.poll_s, clock.speed)
        self._line: ByteLine | None = None
        self._trouble = ""
        self._took = 0

    def names(self) -> list[str]:
        """The one meter."""
        return [self._meter.name]

    def write(self, order: WriteDevice) -> None:
        """A meter that sends telegrams takes no set-points."""
        self._on_written(WriteResult(order.token, order.device, None, "it only sends telegrams"))

    def close(self) -> None:
        """Closes the line."""
        line, self._line = self._line, None
        if line is not None:
            line.close()

    async def run(self) -> None:
        """Reads until it is cancelled."""
        watching = asyncio.create_task(self._watch())
        attempt = 0
        try:
            while True:
                before = self._took
                try:
                    self._line = await self._open()
                    self._counters.count("line_opened")
                    await self._serve(self._line)
                except (OSError, TimeoutError) as error:
                    self._trouble = str(error) or type(error).__name__
                    self._counters.count("line_lost")
                finally:
                    self.close()
                attempt = 0 if self._took > before else attempt + 1
                await self._pace.pause(attempt)
        finally:
            await end_all([watching])

    async def _open(self) -> ByteLine:
        if self._meter.device:
            return SerialLine(self._meter.device, serial_settings(self._meter))
        return await open_tcp(self._meter.host, self._meter.port)

    async def _serve(self, line: ByteLine) -> None:
        """Until the line is gone. Raises OSError or TimeoutError."""
        heard = Heard()
        tasks = [asyncio.create_task(self._read(line, heard))]
        if self._question is not None:
            tasks.append(asyncio.create_task(self._ask(line, heard, self._question)))
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await end_all(tasks)

    async def _read(self, line: ByteLine, heard: Heard) -> None:
        longest_s = self._pace.silence_s * REOPEN_SILENCES / self._clock.speed
        while True:
            async with asyncio.timeout(max(longest_s, SILENCE_S)):
                chunk = await line.read()
            telegrams = self._decoder.feed(chunk)
            count_refusals(self._decoder.refused, self._counters)
            heard.came(chunk, bool(telegrams))
            if telegrams:
                self._take(telegrams[-1], len(telegrams))
            await asyncio.sleep(len(chunk) / BYTES_PER_S)

    async def _ask(self, line: ByteLine, heard: Heard, question: Question) -> None:
        while True:
            await question(line, heard)
            await self._pace.until_due()

    def _take(self, telegram: Telegram, number: int) -> None:
        self._took += 1
        self._counters.count("telegrams", number)
        self._trouble = ""
        if not self._pace.is_due():
            return
        self._pace.given()
        serial, now_ms = telegram.texts.get("serial"), self._clock.now_ms()
        if telegram.taken_at_s is not None and abs(now_ms - telegram.taken_at_s * 1000) > METER_CLOCK_MS:
            self._counters.count("meter_clock_differs")
        sample = Sample(self._meter.name, now_ms, telegram.values, serial=serial, evidence=telegram.evidence)
        self._on_sample(sample)

    async def _watch(self) -> None:
        while True:
            await self._pace.silence()
            fault = self._trouble or f"no telegram for {self._pace.silence_s:g} s"
            self._on_sample(Sample(self._meter.name, self._clock.now_ms(), None, fault))
