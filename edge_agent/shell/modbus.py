"""Polls the devices of one bus and writes to them: one task a host and port, writes before polls.

Every device has its own phase (a hash of its name) on absolute deadlines, and its own breaker: one that does not
answer is asked less and less often, so that it never slows the others. Read plans are computed from the profile for
what the agent uses; SunSpec devices are walked at the first contact.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from device_profiles.codec import LocalCodecError, decode, decode_texts, rollover
from device_profiles.profile_parts import Point, Profile, RegisterImage
from device_profiles.read_plan import Link, LocalPlanError, Readable, ReadPlan, plan
from device_profiles.sunspec import RemoteSunSpecError, resolve, walk
from device_profiles.write_codec import decode_write, encode_release, encode_write
from edge_agent.config import MeterConfig
from edge_agent.effects import Sample, WriteDevice, WriteResult
from edge_agent.replay import part_of
from edge_agent.shell.bus import TIMEOUT_S, ModbusBus, RemoteBusError
from edge_agent.shell.clock import Clock

USED = frozenset(
    (
        "import_wh", "export_wh", "power_w", "reactive_var", "voltage_l1_mv", "frequency_mhz", "soc_permille",
        "max_power_w", "available_power_w",
    )
)  # fmt: skip
"""What the core looks at; nothing else is asked for."""
BACK_OFF_S = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)
"""Pauses of a device that does not answer: after a minute of silence it costs the bus three per cent."""
READ_BACK_S = 2.0
WRITES_LIMIT = 16
"""Writes that wait for a bus: more than the devices on it is a mistake, and old ones must not be obeyed late."""
IDENTITY_EVERY = 3_600
"""Polls between two looks at the serial number: an exchanged meter is seen within the hour at one a second."""


@dataclass(slots=True)
class Unit:
    """One device on the bus, and what is known of it."""

    config: MeterConfig
    profile: Profile
    read_plan: ReadPlan | None = None
    points: tuple[Point, ...] = ()
    next_ms: int = 0
    failures: int = 0
    open_until_s: float = 0.0
    serial: str | None = None
    polls: int = 0


class BusTask:
    """Everything behind one host and port."""

    def __init__(
        self,
        units: Iterable[tuple[MeterConfig, Profile]],
        clock: Clock,
        on_sample: Callable[[Sample], None],
        on_written: Callable[[WriteResult], None],
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._units = {meter.name: Unit(meter, profile) for meter, profile in units}
        first = next(iter(self._units.values())).config
        self._link: Link = "rtu-over-tcp" if first.link == "rtu-over-tcp" else "tcp"
        self._bus = ModbusBus(first.host, first.port, first.link, timeout_s)
        self._clock = clock
        self._on_sample = on_sample
        self._on_written = on_written
        self._writes: deque[WriteDevice] = deque(maxlen=WRITES_LIMIT)
        self._wake = asyncio.Event()

    def write(self, order: WriteDevice) -> None:
        """Writes as soon as the request under way is over."""
        self._writes.append(order)
        self._wake.set()

    async def run(self) -> None:
        """Polls and writes until it is cancelled."""
        now_ms = self._clock.now_ms()
        for unit in self._units.values():
            unit.next_ms = _next_poll_ms(unit.config, now_ms)
        try:
            while True:
                while self._writes:
                    await self._carry_out(self._writes.popleft())
                unit = min(self._units.values(), key=lambda u: u.next_ms)
                if await self._woken_before(unit.next_ms):
                    continue
                await self._turn(unit)
                unit.next_ms = _next_poll_ms(unit.config, max(self._clock.now_ms(), unit.next_ms))
        finally:
            self.close()

    async def _woken_before(self, at_ms: int) -> bool:
        """Waits until then; True where a write came first."""
        self._wake.clear()
        if self._writes:
            return True
        if self._clock.now_ms() >= at_ms:
            return False
        sleeping = asyncio.create_task(self._clock.sleep_until_ms(at_ms))
        waking = asyncio.create_task(self._wake.wait())
        try:
            await asyncio.wait((sleeping, waking), return_when=asyncio.FIRST_COMPLETED)
            return waking.done()
        finally:
            sleeping.cancel()
            waking.cancel()

    async def _turn(self, unit: Unit) -> None:
        if asyncio.get_running_loop().time() < unit.open_until_s:
            return
        try:
            sample = await self.sample(unit)
        except (RemoteBusError, RemoteSunSpecError, LocalCodecError, LocalPlanError, ValueError) as error:
            if not isinstance(error, RemoteBusError) or error.silent:
                unit.failures += 1
                pause_s = BACK_OFF_S[min(unit.failures, len(BACK_OFF_S) - 1)]
                unit.open_until_s = asyncio.get_running_loop().time() + pause_s / self._clock.speed
            self._on_sample(Sample(unit.config.name, self._clock.now_ms(), None, str(error)))
            return
        unit.failures = 0
        self._on_sample(sample)

    async def sample(self, unit: Unit) -> Sample:
        """One poll. Raises RemoteBusError, RemoteSunSpecError, LocalCodecError, LocalPlanError or ValueError."""
        if unit.read_plan is None:
            await self._prepare(unit)
        assert unit.read_plan is not None
        taken_at_ms = self._clock.now_ms()
        image = await self._fetch(unit.config.unit, unit.read_plan)
        if unit.polls % IDENTITY_EVERY == 0 and unit.profile.texts:
            unit.serial = await self._serial(unit)
        unit.polls += 1
        values = decode(unit.profile, image, unit.points)
        rollovers = {p.measurement: at for p in unit.points if p.counter and (at := rollover(p, image)) is not None}
        return Sample(unit.config.name, taken_at_ms, values, None, rollovers, unit.serial)

    def names(self) -> list[str]:
        """The devices behind it."""
        return list(self._units)

    def close(self) -> None:
        """Closes the connection."""
        self._bus.close(heal=False)

    def unit(self, name: str) -> Unit:
        """The device with that name; KeyError for another bus's."""
        return self._units[name]

    async def _prepare(self, unit: Unit) -> None:
        if not unit.profile.resolved:
            steps = walk(unit.profile.sunspec.bases if unit.profile.sunspec else ())
            try:
                address, count = next(steps)
                while True:
                    address, count = steps.send(await self._try_read(unit.config.unit, address, count))
            except StopIteration as end:
                unit.profile = resolve(unit.profile, end.value)
        unit.points = tuple(p for p in unit.profile.points if p.measurement in USED)
        unit.read_plan = plan(unit.points, unit.profile.bus, self._link)

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
            image = await self._fetch(unit.config.unit, plan(texts, unit.profile.bus, self._link))
        except RemoteBusError as error:
            if error.silent:
                raise
            return None
        return decode_texts(unit.profile, image).get("serial")

    async def _fetch(self, number: int, reads: ReadPlan) -> RegisterImage:
        image = RegisterImage()
        for request in reads.requests:
            words = await self._bus.read(number, request.function, request.address, request.count)
            image.put(request.function, request.address, words)
        return image

    async def _carry_out(self, order: WriteDevice) -> None:
        unit = self._units[order.device]
        held: int | None = None
        fault: str | None = None
        try:
            held = await asyncio.wait_for(self._set(unit, order), READ_BACK_S)
        except (RemoteBusError, RemoteSunSpecError, LocalCodecError, LocalPlanError, ValueError) as error:
            fault = str(error)
        except TimeoutError:
            self._bus.close()
            fault = f"not written and read back within {READ_BACK_S:g} s"
        self._on_written(WriteResult(order.token, order.device, held, fault))

    async def _set(self, unit: Unit, order: WriteDevice) -> int | None:
        """Writes, and reads back what the device holds now."""
        if unit.read_plan is None:
            await self._prepare(unit)
        number, write = unit.config.unit, unit.profile.write(order.write)
        reads = plan([write], unit.profile.bus, self._link)
        if order.value is None:
            requests = encode_release(unit.profile, write.name)
            if not requests and write.fallback is not None:
                requests = encode_write(unit.profile, write.name, write.fallback, await self._fetch(number, reads))
        else:
            scales = await self._fetch(number, reads)
            requests = encode_write(unit.profile, write.name, order.value, scales, order.watchdog_s)
        for address, words in requests:
            await self._bus.write(number, address, words)
        return decode_write(unit.profile, write.name, await self._fetch(number, reads))


def _next_poll_ms(meter: MeterConfig, now_ms: int) -> int:
    """The next multiple of the period, moved by the meter's own phase, strictly after now."""
    period_ms = meter.poll_s * 1000
    phase_ms = int(period_ms * part_of(meter.name.encode(), meter.unit, meter.port))
    return (now_ms - phase_ms) // period_ms * period_ms + period_ms + phase_ms


def buses(
    meters: Iterable[tuple[MeterConfig, Profile]],
    clock: Clock,
    on_sample: Callable[[Sample], None],
    on_written: Callable[[WriteResult], None],
) -> list[BusTask]:
    """One task for every host and port."""
    groups: dict[tuple[str, int], list[tuple[MeterConfig, Profile]]] = {}
    for meter, profile in meters:
        groups.setdefault((meter.host, meter.port), []).append((meter, profile))
    return [BusTask(group, clock, on_sample, on_written) for group in groups.values()]
