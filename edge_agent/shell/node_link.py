"""A metering node on its line: telegrams up, and down what keeps it going: ACK, TIME, set-points, firmware.

Like every telegram source (`telegrams.py`), with a voice. A telegram has gone to the core before its ACK leaves. The
identity last taken is kept in a file beside the link key, so that a restarted agent takes no recorded reading twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import logging
from collections.abc import Callable
from pathlib import Path

from contracts.codes import ClockStatus
from edge_agent.config import ConfigError, MeterConfig
from edge_agent.config_update import NodeConfig
from edge_agent.effects import Counters, Sample, WriteDevice, WriteResult
from edge_agent.shell.byte_line import ByteLine
from edge_agent.shell.clock import Clock
from edge_agent.shell.ending import end_all
from edge_agent.shell.key_store import KeyFileError, read_key
from edge_agent.shell.node_set_points import NodeSetPoints
from edge_agent.shell.telegrams import TelegramTask
from firmware_bridge.manifest import split_bundle
from firmware_bridge.node import NodeDecoder, NodeMemory
from firmware_bridge.node_signature import link_key_of
from firmware_bridge.node_update import Progress
from firmware_bridge.telegram import Telegram

SPEAK_EVERY_S = 0.2
"""A node repeats an unacknowledged reading after a second."""
KEEP_EVERY_S = 60.0
"""How often the last identity goes to the card; a reading repeated from before is harmless, its registers are old."""
CURRENT_MS = 30_000
_LETTERS = {
    ClockStatus.UNKNOWN: "U",
    ClockStatus.INFORMATIVE: "I",
    ClockStatus.SYNCHRONISED: "S",
    ClockStatus.RELATIVE: "R",
}
_log = logging.getLogger(__name__)


def memory_file(node: NodeConfig, name: str) -> Path:
    """Where the last identity of the node called ``name`` is kept."""
    return node.key_file.with_name(f"{node.key_file.name}.{name}.last")


def read_memory(path: Path) -> NodeMemory:
    """What the file holds; nothing taken yet where there is none or it is damaged."""
    try:
        epoch, sequence = json.loads(path.read_text(encoding="ascii"))
        return NodeMemory(int(epoch), int(sequence))
    except (OSError, ValueError, TypeError):
        return NodeMemory()


def node_decoder(meter: MeterConfig) -> NodeDecoder:
    """The decoder of a configured node. Raises ConfigError where its link key cannot be read."""
    if meter.node is None:
        raise ConfigError((f"[[meter]] {meter.name} has no node's keys",))
    try:
        link_key = link_key_of(read_key(meter.node.key_file), meter.node.public_key)
    except KeyFileError as error:
        raise ConfigError((f"[[meter]] {meter.name}: {error}",)) from error
    return NodeDecoder(meter.node.public_key, link_key, read_memory(memory_file(meter.node, meter.name)))


class NodeTask(TelegramTask):
    """One node on one line."""

    def __init__(
        self,
        meter: MeterConfig,
        clock: Clock,
        on_sample: Callable[[Sample], None],
        on_written: Callable[[WriteResult], None],
        counters: Counters | None = None,
    ) -> None:
        self.node = node_decoder(meter)
        super().__init__(meter, clock, on_sample, on_written, counters, self.node)
        self._kept = self.node.memory
        self._is_offered = False
        self._told: Progress | None = None
        self._set_points = NodeSetPoints(self.node, on_written)

    def write(self, order: WriteDevice) -> None:
        """A set-point for a node that steers."""
        if self._meter.node is None or self._meter.node.actuator is None:
            self._on_written(WriteResult(order.token, order.device, None, "this metering node steers nothing"))
        else:
            self._set_points.write(order, self._clock.now_ms())

    def _take(self, telegram: Telegram, number: int) -> None:
        """A reading from before an outage is acknowledged, but not how things stand now: registers are cumulative."""
        if telegram.taken_at_s is not None and self._clock.now_ms() - telegram.taken_at_s * 1000 > CURRENT_MS:
            self._counters.count("node_late_readings")
            return
        super()._take(telegram, number)

    async def _serve(self, line: ByteLine) -> None:
        tasks = [asyncio.create_task(super()._serve(line)), asyncio.create_task(self._speak(line))]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            self._keep()
            await end_all(tasks)

    async def _speak(self, line: ByteLine) -> None:
        kept_at, letter = asyncio.get_running_loop().time(), self._letter()
        while True:
            self._offer()
            self._tell_progress()
            self._set_points.look(self._clock.now_ms())
            written = self.node.outgoing(self._clock.now_ms(), letter)
            if written:
                await line.write(written)
            if asyncio.get_running_loop().time() - kept_at > KEEP_EVERY_S:
                kept_at = asyncio.get_running_loop().time()
                self._keep()
                letter = self._letter()
            await asyncio.sleep(SPEAK_EVERY_S)

    def _letter(self) -> str:
        """Asked of a copy: a step of the clock is the core's to learn, and `check` tells it only once."""
        status, _ = copy.copy(self._clock).check()
        return _LETTERS[status]

    def _offer(self) -> None:
        """Once a start, when the node has said what it has."""
        hello, firmware = self.node.hello, self._meter.node.firmware if self._meter.node else None
        if self._is_offered or hello is None or firmware is None:
            return
        self._is_offered = True
        try:
            update = self.node.offer(*split_bundle(firmware.read_bytes()))
        except (OSError, ValueError) as error:
            _log.warning("%s: firmware %s: %s", self._meter.name, firmware, error)
            return
        if update.sequence <= hello.installed:
            self.node.update = None

    def _tell_progress(self) -> None:
        update = self.node.update
        if update is None or update.progress == self._told:
            return
        self._told = update.progress
        self._counters.count(f"node_update_{update.progress.name.lower()}")
        reason = "" if update.refusal is None else f": {update.refusal.name}"
        _log.warning("%s: firmware %d is %s%s", self._meter.name, update.sequence, update.progress.value, reason)

    def _keep(self) -> None:
        if self.node.memory == self._kept or self._meter.node is None:
            return
        path = memory_file(self._meter.node, self._meter.name)
        beside = path.with_name(path.name + ".new")
        with contextlib.suppress(OSError):
            beside.write_text(json.dumps([self.node.memory.epoch, self.node.memory.sequence]), encoding="ascii")
            beside.replace(path)
            self._kept = self.node.memory
