"""Polls the devices of one bus and writes to them: one task a host and port, or a serial line.

    due? control > settlement (first reading of an interval) > telemetry; the healthy before the doubtful
    unit -> block reads of its plan -> decoder -> Sample | fault -> its breaker opens for ever longer

Every device has its own phase (a hash of its name) on absolute deadlines, so nothing drifts and a poll that came too
late is left out, not made up for. One that does not answer is asked less and less often, so that it never slows the
others. Read plans are computed from the profile for what the agent uses; SunSpec devices are walked at the first
contact. The last answers stay as they came, for `shell/proxy.py`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from contracts.interval import INTERVAL_S
from device_profiles.codec import LocalCodecError, decode_texts
from device_profiles.decode_plan import Decoder
from device_profiles.profile_parts import Profile, RegisterImage
from device_profiles.read_plan import Link, LocalPlanError, Readable, ReadPlan, plan
from device_profiles.sunspec import RemoteSunSpecError, resolve, walk
from device_profiles.write_codec import decode_write, encode_release, encode_write
from edge_agent.config import MeterConfig
from edge_agent.delivery.replay import part_of
from edge_agent.effects import NOTHING, Counters, Sample, WriteDevice, WriteResult
from edge_agent.modbus_frame import Question, words_of, write_question
from edge_agent.shell.bus import TIMEOUT_S, ModbusBus, RemoteBusError
from edge_agent.shell.byte_line import SerialSettings
from edge_agent.shell.clock import Clock

USED = frozenset(
    (
        "import_wh", "export_wh", "power_w", "reactive_var", "voltage_l1_mv", "voltage_l2_mv", "voltage_l3_mv",
        "frequency_mhz", "soc_permille", "max_power_w", "available_power_w",
    )
)  # fmt: skip
"""What the core looks at; nothing else is asked for."""
BACK_OFF_S = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)
"""Pauses of a device that does not answer: after a minute of silence it costs the bus one and a half per cent."""
READ_BACK_S = 2.0
WRITES_LIMIT = 16
"""Writes that wait for a bus: more than the devices on it is a mistake, and old ones must not be obeyed late."""
IDENTITY_EVERY = 3_600
"""Polls between two looks at the serial number: an exchanged meter is seen within the hour at one a second."""
SLEEP_LIMIT_S = 1.0
"""A correction of the clock is felt within this."""
INTERVAL_MS = INTERVAL_S * 1000
LATE_MS = 100
"""A tenth of the shortest period: a poll that begins later is counted."""
_FAULTS = (RemoteBusError, RemoteSunSpecError, LocalCodecError, LocalPlanError, ValueError)


@dataclass(slots=True)
class Unit:
    """One device on the bus, and what is known of it. ``blocks`` are the last answers to ``questions``."""

    config: MeterConfig
    profile: Profile
    questions: tuple[Question, ...] | None = None
    decoder: Decoder | None = None
    blocks: tuple[bytes, ...] = ()
    read_at_ms: int = 0
    next_ms: int = 0
    failures: int = 0
    open_until_s: float = 0.0
    interval: int = -1
    serial: str | None = None
    polls: int = 0

    @property
    def settles(self) -> bool:
        """Whether its next poll is the first of an interval, which settlement waits for."""
        return self.config.role == "settlement" and self.next_ms // INTERVAL_MS != self.interval


class BusTask:
    """Everything behind one host and port, or on one serial line."""

    def __init__(
        self,
        units: Iterable[tuple[MeterConfig, Profile]],
        clock: Clock,
        on_sample: Callable[[Sample], None],
        on_written: Callable[[WriteResult], None],
        timeout_s: float = TIMEOUT_S,
        counters: Counters | None = None,
    ) -> None:
        self._units = {meter.name: Unit(meter, profile) for meter, profile in units}
        first = next(iter(self._units.values()))
        self._link: Link = link_of(first.config)
        place = first.config.line
        self._bus = ModbusBus(*place, self._link, timeout_s, line_settings(first.config, first.profile))
        self._clock = clock
        self._on_sample = on_sample
        self._on_written = on_written
        self._counters = Counters() if counters is None else counters
        self._writes: deque[WriteDevice] = deque(maxlen=WRITES_LIMIT)
        self._sleeping: asyncio.Future[None] | None = None

    def write(self, order: WriteDevice) -> None:
        """Writes as soon as the poll under way is over."""
        self._writes.append(order)
        _wake(self._sleeping)

    async def run(self) -> None:
        """Polls and writes until it is cancelled."""
        now_ms = self._clock.now_ms()
        for unit in self._units.values():
            unit.next_ms = next_poll_ms(unit.config, now_ms)
        try:
            while True:
                while self._writes:
                    await self._carry_out(self._writes.popleft())
                now_ms = self._clock.now_ms()
                self._follow_clock(now_ms)
                chosen = most_urgent(self._units.values(), now_ms)
                if chosen is None:
                    await self._sleep_until(min(u.next_ms for u in self._units.values()))
                    continue
                if now_ms - chosen.next_ms > LATE_MS * self._clock.speed:
                    self._counters.count("polls_late")
                await self._turn(chosen)
                chosen.next_ms = next_poll_ms(chosen.config, max(self._clock.now_ms(), chosen.next_ms))
        finally:
            self.close()

    def _follow_clock(self, now_ms: int) -> None:
        """A clock that was set back, by weeks perhaps, must not leave a device unasked until it gets there again."""
        for unit in self._units.values():
            if unit.next_ms - now_ms > 2 * unit.config.poll_s * 1000:
                unit.next_ms = next_poll_ms(unit.config, now_ms)

    async def _sleep_until(self, at_ms: int) -> None:
        """Returns then, or sooner: for a write, or because a second has passed."""
        wait_s = min((at_ms - self._clock.now_ms()) / 1000 / self._clock.speed, SLEEP_LIMIT_S)
        if wait_s <= 0:
            return
        loop = asyncio.get_running_loop()
        self._sleeping = sleeping = loop.create_future()
        timer = loop.call_later(wait_s, _wake, sleeping)
        try:
            await sleeping
        finally:
            timer.cancel()
            self._sleeping = None

    async def _turn(self, unit: Unit) -> None:
        loop = asyncio.get_running_loop()
        if unit.failures and loop.time() < unit.open_until_s:
            return
        try:
            sample = await self.sample(unit)
        except _FAULTS as error:
            if not isinstance(error, RemoteBusError) or error.silent:
                unit.failures += 1
                pause_s = BACK_OFF_S[min(unit.failures, len(BACK_OFF_S)) - 1] / self._clock.speed
                unit.open_until_s = loop.time() + max(pause_s, self._bus.quiet_s(unit.config.unit))
                unit.polls = 0  # whoever answers next may be another
            self._counters.count("polls_failed")
            self._on_sample(Sample(unit.config.name, self._clock.now_ms(), None, str(error)))
            return
        unit.failures, unit.interval = 0, sample.taken_at_ms // INTERVAL_MS
        self._on_sample(sample)

    async def sample(self, unit: Unit) -> Sample:
        """One poll. Raises RemoteBusError, RemoteSunSpecError, LocalCodecError, LocalPlanError or ValueError."""
        if unit.questions is None:
            await self._prepare(unit)
        assert unit.questions is not None and unit.decoder is not None
        taken_at_ms, pause_ms = self._clock.now_ms(), unit.profile.bus.pause_ms
        blocks = tuple([await self._bus.ask(question, pause_ms) for question in unit.questions])
        if unit.polls % IDENTITY_EVERY == 0 and unit.profile.texts:
            unit.serial = await self._serial(unit)
        unit.polls += 1
        unit.blocks, unit.read_at_ms = blocks, taken_at_ms
        rollovers = unit.decoder.rollovers(blocks) or NOTHING
        return Sample(unit.config.name, taken_at_ms, unit.decoder.values(blocks), None, rollovers, unit.serial)

    def names(self) -> list[str]:
        """The devices behind it."""
        return list(self._units)

    def close(self) -> None:
        """Closes the connection."""
        self._bus.close()

    def unit(self, name: str) -> Unit:
        """The device with that name; KeyError for another bus's."""
        return self._units[name]

    async def registers(self, unit: Unit, write: str) -> RegisterImage:
        """What must be read before that set-point can be encoded, as it is now; raises as `sample` does."""
        if unit.questions is None:
            await self._prepare(unit)
        return await self._fetch(unit, plan([unit.profile.write(write)], unit.profile.bus, self._link))

    async def _prepare(self, unit: Unit) -> None:
        if not unit.profile.resolved:
            steps = walk(unit.profile.sunspec.bases if unit.profile.sunspec else ())
            try:
                address, count = next(steps)
                while True:
                    address, count = steps.send(await self._try_read(unit.config.unit, address, count))
            except StopIteration as end:
                unit.profile = resolve(unit.profile, end.value)
        points = tuple(p for p in unit.profile.points if p.measurement in USED)
        requests = plan(points, unit.profile.bus, self._link).requests
        unit.decoder = Decoder(points, requests)
        unit.questions = tuple(Question(unit.config.unit, r.function, r.address, r.count) for r in requests)

    async def _try_read(self, number: int, address: int, count: int) -> Sequence[int] | None:
        """A read the device may refuse; silence is no refusal."""
        try:
            return await self._bus.read(number, 3, address, count)
        except RemoteBusError as error:
            if error.silent:
                raise
            return None

    async def _serial(self, unit: Unit) -> str | None:
        """The device's serial number; None where it does not tell."""
        texts: list[Readable] = [t for t in unit.profile.texts if t.name == "serial"]
        if not texts:
            return None
        try:
            image = await self._fetch(unit, plan(texts, unit.profile.bus, self._link))
        except RemoteBusError as error:
            if error.silent:
                raise
            return None
        return decode_texts(unit.profile, image).get("serial")

    async def _fetch(self, unit: Unit, reads: ReadPlan) -> RegisterImage:
        image, pause_ms = RegisterImage(), unit.profile.bus.pause_ms
        for r in reads.requests:
            block = await self._bus.ask(Question(unit.config.unit, r.function, r.address, r.count), pause_ms)
            image.put(r.function, r.address, words_of(block))
        return image

    async def _carry_out(self, order: WriteDevice) -> None:
        unit = self._units[order.device]
        held: int | None = None
        fault: str | None = None
        try:
            held = await asyncio.wait_for(self._set(unit, order), READ_BACK_S)
        except TimeoutError:
            fault = f"not written and read back within {READ_BACK_S:g} s"
        except _FAULTS as error:
            fault = str(error)
        self._on_written(WriteResult(order.token, order.device, held, fault))

    async def _set(self, unit: Unit, order: WriteDevice) -> int | None:
        """Writes, and reads back what the device holds now."""
        if unit.questions is None:
            await self._prepare(unit)
        number, write = unit.config.unit, unit.profile.write(order.write)
        reads = plan([write], unit.profile.bus, self._link)
        if order.value is None:
            requests = encode_release(unit.profile, write.name)
            if not requests and write.fallback is not None:
                requests = encode_write(unit.profile, write.name, write.fallback, await self._fetch(unit, reads))
        else:
            scales = await self._fetch(unit, reads)
            requests = encode_write(unit.profile, write.name, order.value, scales, order.watchdog_s)
        for address, words in requests:
            await self._bus.ask(write_question(number, address, list(words)), unit.profile.bus.pause_ms)
        return decode_write(unit.profile, write.name, await self._fetch(unit, reads))


def _wake(sleeping: asyncio.Future[None] | None) -> None:
    if sleeping is not None and not sleeping.done():
        sleeping.set_result(None)


def most_urgent(units: Iterable[Unit], now_ms: int) -> Unit | None:
    """Who is asked next: the healthy, then whom settlement waits for, then the longest due. None where nobody is."""
    due = [unit for unit in units if unit.next_ms <= now_ms]
    if len(due) < 2:
        return due[0] if due else None
    return min(due, key=lambda unit: (unit.failures > 0, not unit.settles, unit.next_ms))


def link_of(meter: MeterConfig) -> Link:
    """How a Modbus device is reached."""
    return "rtu" if meter.link == "rtu" else "rtu-over-tcp" if meter.link == "rtu-over-tcp" else "tcp"


def line_settings(meter: MeterConfig, profile: Profile) -> SerialSettings:
    """Speed and framing of the line: the installer's word, or the profile's."""
    bus = profile.bus
    return SerialSettings(meter.baud or bus.baud, 8, meter.parity or bus.parity, meter.stop_bits or bus.stop_bits)


def next_poll_ms(meter: MeterConfig, now_ms: int) -> int:
    """The next multiple of the period, moved by the meter's own phase, strictly after now.

    A settlement meter is also asked within a second after the end of every interval, however long its period is.
    """
    period_ms = meter.poll_s * 1000
    phase_ms = int(period_ms * part_of(meter.name.encode(), meter.unit, meter.port))
    next_ms = (now_ms - phase_ms) // period_ms * period_ms + period_ms + phase_ms
    if meter.role != "settlement" or meter.poll_s == 1:
        return next_ms
    within_ms = phase_ms % 1000
    boundary_ms = (now_ms - within_ms) // INTERVAL_MS * INTERVAL_MS + INTERVAL_MS + within_ms
    return min(next_ms, boundary_ms)
