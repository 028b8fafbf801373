"""Finds devices nobody has configured: a sweep of the network, of a serial line, and a look at what speaks by itself.

    network: every address of a prefix, port open? -> units -> probe        (bounded: sockets at a time, seconds)
    line:    baud x parity -> units 1 to 247 -> first register -> probe      (stops at the first speed that answers)
    sniff:   baud -> listen -> which decoder makes a telegram of it          (P1, SML, IEC 62056-21, M-Bus)

A probe walks the SunSpec chain first, then holds every profile's `[probe]` against the device. Many profiles ask no
more than a plausible frequency at their own register; so all that fit are told, the one with most points first.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from device_profiles.codec import decode, probe_matches
from device_profiles.profile import list_profiles, load_profile
from device_profiles.profile_parts import Profile, RegisterImage
from device_profiles.read_plan import LocalPlanError, Readable, plan
from device_profiles.sunspec import BASES, FoundModel, RemoteSunSpecError, resolve, walk
from edge_agent.config import LINKS
from edge_agent.shell.bus import ModbusBus, RemoteBusError
from edge_agent.shell.byte_line import SerialLine, SerialSettings
from firmware_bridge.dsmr import DsmrDecoder
from firmware_bridge.iec62056 import Iec62056Decoder
from firmware_bridge.mbus import MbusDecoder
from firmware_bridge.sml import SmlDecoder
from firmware_bridge.telegram import StreamDecoder

MODBUS_PORT = 502
AT_ONCE = 64
"""Sockets open at a time: a /24 in four waves, and no router's table suffers."""
CONNECT_S = 0.5
"""A device in the same house answers in milliseconds; behind radio in a hundred."""
HOSTS_LIMIT = 1024
ANSWER_S = 0.6
LINE_ANSWER_S = 0.15
"""A meter thinks for 60 ms at most: with longer waits 247 units at six speeds take an hour."""
NETWORK_UNITS = (1, 2, 3, 126, 247, 255, 0)
"""What makers ship: 1 the most, SolarEdge 1 to 3, SMA 3 and 126, gateways 247, devices without a bus 255 or 0."""
BAUDS = (9_600, 19_200, 38_400, 115_200, 2_400, 4_800)
PARITIES = ("N", "E", "O")
UNITS = range(1, 248)
SNIFFED: tuple[tuple[str, SerialSettings, Callable[[], StreamDecoder]], ...] = (
    ("p1", SerialSettings(115_200), DsmrDecoder),
    ("sml", SerialSettings(9_600), SmlDecoder),
    ("p1", SerialSettings(9_600, 7, "E"), DsmrDecoder),
    ("iec62056", SerialSettings(9_600, 7, "E"), Iec62056Decoder),
    ("mbus", SerialSettings(2_400, 8, "E"), MbusDecoder),
)
NAMED_SCORE = 1_000
"""Above the number of points of any profile."""
SNIFF_S = 11.0
"""A DSMR 4 meter sends every ten seconds."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where something was found."""

    link: str
    host: str = ""
    port: int = 0
    unit: int = 1
    device: str = ""
    settings: SerialSettings | None = None

    def __post_init__(self) -> None:
        if self.link not in LINKS:
            raise ValueError(f"no such link: {self.link}")


@dataclass(frozen=True, slots=True)
class Found:
    """A device, the profiles that fit (best first) or the telegram, and what it said of itself."""

    place: Place
    profiles: tuple[str, ...] = ()
    telegram: str = ""
    told: str = ""

    def toml(self, number: int) -> str:
        """The `[[meter]]` table for it, ready for the configuration; a remark where nothing fits."""
        place = self.place
        name = f"{(self.telegram or (self.profiles[0] if self.profiles else 'unknown')).replace('.', '-')}-{number}"
        lines = [f"# {self.told}"] if self.told else []
        if not self.profiles and not self.telegram:
            return "\n".join([*lines, f"# {_where(place)}: answers, and no profile fits"])
        if len(self.profiles) > 1:
            lines.append(f"# fits too: {', '.join(self.profiles[1:])}")
        lines += ["[[meter]]", f"number = {number}", f'name = "{name[:32]}"']
        if self.telegram:
            lines += ['link = "telegram"', f'telegram = "{self.telegram}"']
        else:
            lines += [f'profile = "{self.profiles[0]}"', f'link = "{place.link}"']
            lines += [f"unit = {place.unit}"]
        if place.device:
            lines.append(f'device = "{place.device}"')
            if place.settings is not None:
                lines += [f"baud = {place.settings.baud}", f'parity = "{place.settings.parity}"']
        else:
            lines += [f'host = "{place.host}"', f"port = {place.port}"]
        return "\n".join(lines)


def _where(place: Place) -> str:
    return f"{place.device or f'{place.host}:{place.port}'} unit {place.unit}"


# The network


def addresses_of(prefix: str) -> tuple[str, ...]:
    """Every address of a network such as 192.168.1.0/24. ValueError for none, or for more than HOSTS_LIMIT."""
    network = ipaddress.ip_network(prefix, strict=False)
    if network.num_addresses > HOSTS_LIMIT:
        raise ValueError(f"{prefix} has more than {HOSTS_LIMIT} addresses")
    return tuple(str(address) for address in network.hosts())


async def open_hosts(hosts: Iterable[str], port: int, connect_s: float = CONNECT_S) -> list[str]:
    """Those that take a connection on the port."""
    room = asyncio.Semaphore(AT_ONCE)

    async def is_open(host: str) -> bool:
        async with room:
            try:
                async with asyncio.timeout(connect_s):
                    _, writer = await asyncio.open_connection(host, port)
            except OSError:
                return False
            writer.close()
            return True

    asked = list(hosts)
    answers = await asyncio.gather(*(is_open(host) for host in asked))
    return [host for host, answer in zip(asked, answers, strict=True) if answer]


async def search_network(
    hosts: Iterable[str],
    port: int = MODBUS_PORT,
    units: Sequence[int] = NETWORK_UNITS,
    links: Sequence[str] = ("tcp", "rtu-over-tcp"),
) -> AsyncIterator[Found]:
    """Every unit that answers on every open port; the second framing only where the first meets silence."""
    for host in await open_hosts(hosts, port):
        for link in links:
            bus, silent = ModbusBus(host, port, link, ANSWER_S), True
            try:
                for unit in units:
                    found = await identify(bus, Place(link, host, port, unit))
                    if found is not None:
                        silent = False
                        yield found
            finally:
                bus.close()
            if not silent:
                break


# A serial line


async def search_line(
    device: str,
    bauds: Sequence[int] = BAUDS,
    parities: Sequence[str] = PARITIES,
    units: Iterable[int] = UNITS,
    progress: Callable[[str], object] = lambda _: None,
) -> AsyncIterator[Found]:
    """Every unit at the first speed and parity at which one answers. Raises OSError where there is no such line."""
    asked = list(units)
    for baud in bauds:
        for parity in parities:
            settings = SerialSettings(baud, 8, parity, 1)
            SerialLine(device, settings).close()  # says at once, and by its name, what is wrong with the line
            progress(str(settings))
            bus, some = ModbusBus(device, 0, "rtu", LINE_ANSWER_S, settings), False
            try:
                for unit in asked:
                    found = await identify(bus, Place("rtu", unit=unit, device=device, settings=settings))
                    if found is not None:
                        some = True
                        yield found
            finally:
                bus.close()
            if some:
                return


# What it is


async def identify(bus: ModbusBus, place: Place) -> Found | None:
    """What answers as this unit; None where nobody does. An exception is an answer too."""
    ask = _Asker(bus, place.unit)
    try:
        if await ask.words(3, 0, 1) is None and not ask.answered:
            return None
        models = await _models(ask)
        if models:
            fits = [(-score, p.name) for p in _profiles() if (score := _sunspec_score(p, models))]
            told = f"SunSpec models {', '.join(str(m.id) for m in models)}"
            return Found(place, tuple(name for _, name in sorted(fits)), "", told)
        fits = []
        for profile in _profiles():
            if profile.sunspec is None and (score := await _score(ask, profile)):
                fits.append((-score, profile.name))
    except RemoteBusError:
        return Found(place) if ask.answered else None
    return Found(place, tuple(name for _, name in sorted(fits)))


class _Asker:
    """Reads of one unit, each made once. ``answered``: it has said something, and be it an exception."""

    def __init__(self, bus: ModbusBus, unit: int) -> None:
        self.answered = False
        self._bus, self._unit = bus, unit
        self._known: dict[tuple[int, int, int], list[int] | None] = {}

    async def words(self, function: int, address: int, count: int) -> list[int] | None:
        """None where the device refuses. Raises RemoteBusError for silence of a device that has not answered yet."""
        key = (function, address, count)
        if key not in self._known:
            try:
                self._known[key] = await self._bus.read(self._unit, function, address, count)
                self.answered = True
            except RemoteBusError as error:
                self.answered |= error.code is not None
                if not self.answered:
                    raise
                self._known[key] = None
        return self._known[key]


async def _models(ask: _Asker) -> tuple[FoundModel, ...]:
    steps = walk(BASES)
    try:
        address, count = next(steps)
        while True:
            address, count = steps.send(await ask.words(3, address, count))
    except StopIteration as end:
        found: tuple[FoundModel, ...] = end.value
        return found
    except RemoteSunSpecError as error:
        return error.found


def _profiles() -> list[Profile]:
    return [load_profile(name) for name in list_profiles()]


def _sunspec_score(profile: Profile, models: Sequence[FoundModel]) -> int:
    """How many of the profile's points the device's models have."""
    if profile.sunspec is None:
        return 0
    try:
        return len(resolve(profile, models).points)
    except ValueError:
        return 0


async def _score(ask: _Asker, profile: Profile) -> int:
    """How many of the profile's points the device shows something at; 0 where the probe does not fit.

    What only asks for a plausible frequency fits a whole family, so what a maker's own number names counts more.
    """
    probe = profile.probe
    image = RegisterImage()
    readable: list[Readable] = [profile.point(probe.measurement)] if probe.measurement else []
    if not probe.measurement:
        words = await ask.words(probe.function, probe.address, len(probe.words) or 1)
        image.put(probe.function, probe.address, words or [])
    if not await _fill(ask, image, readable, profile) or not probe_matches(profile, image):
        return 0
    await _fill(ask, image, profile.points, profile)
    shown = sum(value != 0 for value in decode(profile, image).values())
    return 1 + shown + (0 if probe.measurement else NAMED_SCORE)


async def _fill(ask: _Asker, image: RegisterImage, wanted: Sequence[Readable], profile: Profile) -> bool:
    """Reads what is wanted into the image; False where a part of it is refused."""
    whole = True
    try:
        requests = plan(wanted, profile.bus, "tcp").requests
    except LocalPlanError:
        return False
    for request in requests:
        words = await ask.words(request.function, request.address, request.count)
        whole &= words is not None
        image.put(request.function, request.address, words or [])
    return whole


# What speaks by itself


async def sniff(device: str, listen_s: float = SNIFF_S) -> Found | None:
    """The first telegram anybody can make of what the line says. Raises OSError where there is no such line."""
    for baud_and_frame in dict.fromkeys(settings for _, settings, _ in SNIFFED):
        decoders = [(name, make()) for name, settings, make in SNIFFED if settings == baud_and_frame]
        line = SerialLine(device, baud_and_frame)
        try:
            async with asyncio.timeout(listen_s):
                while True:
                    chunk = await line.read()
                    for name, decoder in decoders:
                        for telegram in decoder.feed(chunk):
                            told = ", ".join(f"{key} {text}" for key, text in sorted(telegram.texts.items()))
                            place = Place("telegram", device=device, settings=replace(baud_and_frame))
                            return Found(place, (), name, told)
        except TimeoutError:
            pass
        finally:
            line.close()
    return None
