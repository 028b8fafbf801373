"""What an installer asks an installation: its devices, its queue, and whether everything is in order."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from device_profiles.codec import LocalCodecError
from device_profiles.read_plan import LocalPlanError
from device_profiles.sunspec import RemoteSunSpecError
from edge_agent.config import AgentConfig
from edge_agent.effects import Sample, WriteResult
from edge_agent.shell.bus import RemoteBusError
from edge_agent.shell.clock import SystemClock
from edge_agent.shell.ending import end_all
from edge_agent.shell.modbus import BusTask
from edge_agent.shell.runtime import load_profiles
from edge_agent.shell.sources import Source, sources_of

PROBE_S = 20.0
TELEGRAM_S = 15.0
"""Old DSMR meters and many IEC ones send every ten seconds."""

Probed = tuple[str, dict[str, int], str | None]


async def probe_devices(config: AgentConfig) -> list[Probed]:
    """Name, values and fault of every configured device: asked once, or heard for as long as a telegram may take."""
    first: dict[str, asyncio.Future[Sample]] = {}

    def hear(sample: Sample) -> None:
        coming = first.get(sample.device)
        if coming is not None and not coming.done() and sample.values is not None:
            coming.set_result(sample)

    loop = asyncio.get_running_loop()
    sources = sources_of(config, load_profiles(config), SystemClock(), hear, _ignore_write)
    first.update((meter.name, loop.create_future()) for meter in config.meters)
    asking = [_probe_bus(s) if isinstance(s, BusTask) else _listen_to(s, first) for s in sources]
    found = await asyncio.gather(*asking)
    order = {meter.name: place for place, meter in enumerate(config.meters)}
    return sorted((probed for source in found for probed in source), key=lambda probed: order[probed[0]])


def _ignore_write(_: WriteResult) -> None:
    """A probe writes nothing."""


async def _probe_bus(bus: BusTask) -> list[Probed]:
    found: list[Probed] = []
    for name in bus.names():
        try:
            sample = await asyncio.wait_for(bus.sample(bus.unit(name)), PROBE_S)
            found.append((name, dict(sample.values or {}), None))
        except (RemoteBusError, RemoteSunSpecError, LocalCodecError, LocalPlanError, ValueError) as error:
            found.append((name, {}, str(error)))
        except TimeoutError:
            found.append((name, {}, f"no answer within {PROBE_S:g} s"))
    bus.close()
    return found


async def _listen_to(source: Source, first: Mapping[str, asyncio.Future[Sample]]) -> list[Probed]:
    """The first telegram of each of its meters."""
    running = asyncio.create_task(source.run())
    waiting = {name: first[name] for name in source.names()}
    try:
        await asyncio.wait(waiting.values(), timeout=TELEGRAM_S)
    finally:
        await end_all([running])
    return [
        (name, dict(coming.result().values or {}), None)
        if coming.done()
        else (name, {}, f"no telegram within {TELEGRAM_S:g} s")
        for name, coming in waiting.items()
    ]
