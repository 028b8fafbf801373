"""A real metering node on a real serial device under the running agent's source."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from edge_agent.config import ConfigError, MeterConfig
from edge_agent.config_update import NodeConfig
from edge_agent.effects import Counters, Sample, WriteDevice, WriteResult
from edge_agent.shell.clock import SystemClock
from edge_agent.shell.node_link import NodeTask, memory_file, read_memory
from firmware_bridge.manifest import pack_bundle
from firmware_bridge.node import NodeMemory
from firmware_bridge.node_signature import public_key_of
from tests.firmware_bridge.reference_node import GATEWAY_KEY, NODE_KEY, Line, build, envelope_of


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("node", tmp_path_factory.mktemp("node"))


def meter_of(folder: Path, line: Line, firmware: Path | None = None) -> MeterConfig:
    key = folder / "node.key"
    if not key.exists():
        key.write_text(GATEWAY_KEY.hex())
        key.chmod(0o600)
    node = NodeConfig(public_key_of(NODE_KEY), key, firmware)
    return MeterConfig(0, "main", "", "", 0, link="telegram", telegram="node", device=line.gateway_device(), node=node)


async def sampled(
    meter: MeterConfig, enough: int, counters: Counters, installed: int | None = None
) -> tuple[list[Sample], NodeTask]:
    samples: list[Sample] = []
    task = NodeTask(meter, SystemClock(trusted=True), samples.append, lambda result: None, counters)
    running = asyncio.create_task(task.run())
    try:
        async with asyncio.timeout(40):
            while (
                len(samples) < enough
                or task.node.hello is None
                or not (
                    installed is None
                    or (
                        task.node.hello is not None
                        and task.node.update is not None
                        and task.node.update.progress.name == "DONE"
                    )
                )
            ):
                await asyncio.sleep(0.05)
                assert not running.done(), running.exception()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        task.close()
    return samples, task


def test_the_agent_samples_a_node_answers_it_and_remembers_where_it_was(program: Path, tmp_path: Path) -> None:
    line = Line(program, tmp_path / "flash", interval_ms=200)
    try:
        line.start()
        meter = meter_of(tmp_path, line)
        counters = Counters()
        samples, task = asyncio.run(sampled(meter, 3, counters))
        good = [sample for sample in samples if sample.values]
        assert len(good) >= 3 and good[0].values is not None and good[0].values["power_w"] == 1500
        assert good[0].evidence is not None and len(good[0].evidence) == 32 and good[-1].serial == "EG-NODE-1"
        assert task.node.gaps == 0 and task.node.memory.sequence >= 10, "what was taken was acknowledged"
        kept = read_memory(memory_file(meter.node, "main")) if meter.node else None
        assert kept == task.node.memory
        again, task = asyncio.run(sampled(meter, 1, counters))
        assert kept is not None and task.node.memory.sequence > kept.sequence and len(again) >= 1
    finally:
        line.close()


@pytest.mark.slow
def test_a_configured_firmware_is_brought_to_the_node_once(program: Path, tmp_path: Path) -> None:
    image = os.urandom(1_000)
    bundle = tmp_path / "firmware.bundle"
    bundle.write_bytes(pack_bundle(envelope_of(image, 9), image))
    line = Line(program, tmp_path / "flash", interval_ms=200)
    try:
        line.start()
        meter = meter_of(tmp_path, line, bundle)
        asyncio.run(sampled(meter, 1, Counters(), 9))
        _, task = asyncio.run(sampled(meter, 1, Counters()))
        assert task.node.hello is not None and task.node.hello.installed == 9 and task.node.update is None
    finally:
        line.close()


def test_a_node_without_its_key_file_is_a_configuration_error(tmp_path: Path) -> None:
    meter = MeterConfig(0, "main", "", "", 0, link="telegram", telegram="node", device="/dev/null",
                        node=NodeConfig(public_key_of(NODE_KEY), tmp_path / "nowhere"))  # fmt: skip
    with pytest.raises(ConfigError, match="nowhere"):
        NodeTask(meter, SystemClock(True), lambda sample: None, lambda result: None)


def test_a_damaged_memory_begins_anew_and_a_register_write_is_answered(tmp_path: Path) -> None:
    path = tmp_path / "last"
    for text in ("", "[1]", '{"a": 1}', "null"):
        path.write_text(text)
        assert read_memory(path) == NodeMemory()
    path.write_text(json.dumps([3, 7]))
    assert read_memory(path) == NodeMemory(3, 7)
    key = tmp_path / "node.key"
    key.write_text(GATEWAY_KEY.hex())
    key.chmod(0o600)
    node = NodeConfig(public_key_of(NODE_KEY), key)
    meter = MeterConfig(0, "main", "", "", 0, link="telegram", telegram="node", device="/dev/null", node=node)
    results: list[WriteResult] = []
    task = NodeTask(meter, SystemClock(True), lambda sample: None, results.append)
    task.write(WriteDevice("main", "power_setpoint_w", 1, None, 5))
    assert [(result.token, result.fault is None) for result in results] == [(5, False)]
