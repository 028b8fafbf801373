"""Where samples come from: one task for everything that shares a line, whatever is spoken on it.

[[meter]] link = tcp, rtu-over-tcp, rtu -> BusTask          asked for registers, one after another
                 telegram               -> TelegramTask     a byte stream of its own
                 telegram, M-Bus        -> MbusTask         asked for telegrams, one after another
                 mqtt                   -> MqttMetersTask   topics of one broker
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from device_profiles.profile_parts import Profile
from edge_agent.config import AgentConfig, BrokerConfig, MeterConfig
from edge_agent.effects import Counters, Sample, WriteDevice, WriteResult
from edge_agent.shell.clock import Clock
from edge_agent.shell.mbus_line import MbusTask
from edge_agent.shell.modbus import BusTask
from edge_agent.shell.mqtt_meters import MqttMetersTask
from edge_agent.shell.node_link import NodeTask
from edge_agent.shell.telegrams import TelegramTask


class Source(Protocol):
    """Gives samples of one or several devices, and takes what is to be written to them."""

    def names(self) -> list[str]:
        """The devices behind it."""

    async def run(self) -> None:
        """Until it is cancelled."""

    def write(self, order: WriteDevice) -> None:
        """Answers with a WriteResult, sooner or later."""

    def close(self) -> None:
        """Lets go of lines and connections."""


def sources_of(
    config: AgentConfig,
    profiles: Mapping[str, Profile],
    clock: Clock,
    on_sample: Callable[[Sample], None],
    on_written: Callable[[WriteResult], None],
    counters: Counters | None = None,
) -> list[Source]:
    """One source a line. ``profiles`` has those of the Modbus devices. Raises LocalPathError for a bad JSON path."""
    counters = Counters() if counters is None else counters
    lines: dict[tuple[str, tuple[str, int]], list[MeterConfig]] = {}
    for meter in config.meters:
        kind = "modbus" if meter.is_modbus else meter.link
        lines.setdefault((kind, meter.line), []).append(meter)
    sources: list[Source] = []
    for (kind, _), meters in lines.items():
        if kind == "modbus":
            units = [(m, profiles[m.name]) for m in meters]
            sources.append(BusTask(units, clock, on_sample, on_written, counters=counters))
        elif kind == "mqtt":
            broker = _broker_of(meters[0], config.broker)
            sources.append(MqttMetersTask(meters, broker, clock, on_sample, on_written, counters))
        elif meters[0].is_mbus:
            sources.append(MbusTask(meters, clock, on_sample, on_written, counters))
        else:
            kinds = [NodeTask if m.telegram == "node" else TelegramTask for m in meters]
            sources += [kind(m, clock, on_sample, on_written, counters) for kind, m in zip(kinds, meters, strict=True)]
    return sources


def _broker_of(meter: MeterConfig, own: BrokerConfig) -> BrokerConfig:
    """The agent's own broker with its credentials, or another one without any."""
    return own if (own.host, own.port) == meter.line else BrokerConfig(meter.host, meter.port)
