"""Carries out what `scan` and `probe` ask, from the first byte to the last, in a loop of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from edge_agent.config import AgentConfig
from edge_agent.shell.examination import Probed, probe_devices
from edge_agent.shell.search import (
    BAUDS,
    NETWORK_UNITS,
    PARITIES,
    UNITS,
    Found,
    addresses_of,
    search_line,
    search_network,
    sniff,
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Where to look; an empty text leaves that out, an empty sequence takes all that is usual."""

    network: str = ""
    port: int = 502
    serial: str = ""
    bauds: Sequence[int] = ()
    units: Sequence[int] = ()
    sniff: str = ""
    limit_s: float = 900.0


def scan_now(wanted: Wanted, tell: Callable[[str], object], trying: Callable[[str], object]) -> int:
    """Tells a `[[meter]]` table of every device as it is found; how many. Raises ValueError or OSError."""
    return asyncio.run(_scan(wanted, tell, trying))


async def _scan(wanted: Wanted, tell: Callable[[str], object], trying: Callable[[str], object]) -> int:
    number = 0

    def told(found: Found) -> None:
        nonlocal number
        tell(found.toml(number) + "\n")
        number += bool(found.profiles or found.telegram)

    async def all_of(sweep: AsyncIterator[Found]) -> None:
        async for found in sweep:
            told(found)

    try:
        async with asyncio.timeout(wanted.limit_s):
            if wanted.network:
                hosts = addresses_of(wanted.network)
                await all_of(search_network(hosts, wanted.port, wanted.units or NETWORK_UNITS))
            if wanted.serial:
                bauds, units = wanted.bauds or BAUDS, wanted.units or UNITS
                await all_of(search_line(wanted.serial, bauds, PARITIES, units, trying))
            if wanted.sniff and (heard := await sniff(wanted.sniff)) is not None:
                told(heard)
    except TimeoutError:
        trying(f"nothing more: {wanted.limit_s:g} s are over")
    return number


def probe_now(config: AgentConfig) -> list[Probed]:
    """Name, values and fault of every configured device, each read once."""
    return asyncio.run(probe_devices(config))
