"""A thousand meters at once: one process that plays them all, and one agent process that reads each every second.

`python -m tests.bench.crowd serve PORT` answers Modbus TCP on every loopback address, whatever the unit;
`python -m tests.bench.crowd poll PORT METERS SECONDS` runs an agent's buses and core against it and prints one line
of JSON: how late polls began, processor seconds, samples.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from device_profiles.codec import encode
from device_profiles.profile import load_profile
from edge_agent.config import AgentConfig, BrokerConfig, MeterConfig
from edge_agent.effects import Counters, Effect, Sample
from edge_agent.shell.clock import SystemClock
from edge_agent.shell.modbus import next_poll_ms
from edge_agent.shell.runtime import Running
from tests.edge_agent.conftest import ADA_KEY, ada_config

PROFILE = "eastron_sdm630"
WARM_S = 8.0
MEMORY = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
"""Stores lie in memory: twenty homes on one disk would measure its fsync, and every home has a disk of its own."""
HOME_METERS = 50


class _Meter(asyncio.Protocol):
    """One connection; every meter shows the same registers."""

    image: ClassVar[dict[tuple[int, int], int]] = {}
    answers: ClassVar[dict[bytes, bytes]] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        place = data[7:12]
        answer = self.answers.get(place)
        if answer is None:
            function, address, count = place[0], int.from_bytes(place[1:3], "big"), int.from_bytes(place[3:5], "big")
            words = [self.image.get((function, address + i), 0) for i in range(count)]
            body = bytes((function, 2 * count)) + b"".join(word.to_bytes(2, "big") for word in words)
            answer = self.answers[place] = body
        self._transport.write(data[:4] + (len(answer) + 1).to_bytes(2, "big") + data[6:7] + answer)


async def serve(port: int) -> None:
    """Until killed; says its port first."""
    profile = load_profile(PROFILE)
    values = {"import_wh": 10**6, "export_wh": 7, "power_w": 0, "frequency_mhz": 50_000, "voltage_l1_mv": 230_000}
    _Meter.image = dict(encode(profile, values))
    server = await asyncio.get_running_loop().create_server(_Meter, "0.0.0.0", port, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def poll(port: int, meters: int, seconds: float) -> dict[str, float]:
    """As many agents as it takes, with HOME_METERS each, in one loop."""
    late_ms: list[int] = []
    counting = asyncio.Event()
    stop = asyncio.Event()
    with tempfile.TemporaryDirectory(dir=MEMORY) as place:
        agents = []
        for first in range(0, meters, HOME_METERS):
            folder = Path(place) / f"{first}"
            folder.mkdir()
            numbers = range(first, min(first + HOME_METERS, meters))
            devices = tuple(
                MeterConfig(n - first, f"m{n}", PROFILE, f"127.0.{n // 250}.{n % 250 + 1}", port) for n in numbers
            )
            agents.append(_agent(ada_config(folder, devices), late_ms, counting))
        tasks = [asyncio.create_task(agent.run(stop)) for agent in agents]
        await asyncio.sleep(WARM_S)
        counting.set()
        before = resource.getrusage(resource.RUSAGE_SELF)
        await asyncio.sleep(seconds)
        after = resource.getrusage(resource.RUSAGE_SELF)
        stop.set()
        await asyncio.gather(*tasks)
    late_ms.sort()
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "samples": len(late_ms),
        "p50_ms": late_ms[len(late_ms) // 2],
        "p99_ms": late_ms[len(late_ms) * 99 // 100],
        "worst_ms": late_ms[-1],
        "cpu_s": cpu_s,
        "mib": after.ru_maxrss / 1024,
    }


def _agent(config: AgentConfig, late_ms: list[int], counting: asyncio.Event) -> Running:
    """An agent whose samples tell how late their poll began."""
    nowhere = replace(config, broker=BrokerConfig(port=1))  # the way up is not what is measured
    running = Running(nowhere, SystemClock(trusted=True), ADA_KEY, Counters())
    meters = {meter.name: meter for meter in config.meters}
    on_sample = running.agent.on_sample

    def watched(sample: Sample, now_ms: int) -> list[Effect]:
        if counting.is_set() and sample.values:
            late_ms.append(sample.taken_at_ms - next_poll_ms(meters[sample.device], sample.taken_at_ms) + 1_000)
        return on_sample(sample, now_ms)

    running.agent.on_sample = watched  # type: ignore[method-assign]
    return running


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    if sys.argv[1] == "serve":
        asyncio.run(serve(int(sys.argv[2])))
    else:
        print(json.dumps(asyncio.run(poll(int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])))))
