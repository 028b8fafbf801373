"""Metrics in Prometheus' text format. Every name and label is documented in the room's README."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from coordinator.grid.power_balance import power_balance
from coordinator.store.store import Store
from coordinator.web.context import WebContext

Sample = tuple[dict[str, str], int]


def _family(name: str, kind: str, text: str, samples: Iterable[Sample]) -> str:
    lines = [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
    for labels, value in samples:
        inner = ",".join(f'{key}="{_escaped(word)}"' for key, word in sorted(labels.items()))
        lines.append(f"{name}{{{inner}}} {value}" if inner else f"{name} {value}")
    return "\n".join(lines)


def _escaped(word: str) -> str:
    return word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _labelled(counts: Mapping[str, int], label: str, prefix: str = "") -> list[Sample]:
    # a copy: the core's thread adds words while we read
    return [
        ({label: word.removeprefix(prefix)}, value)
        for word, value in sorted(dict(counts).items())
        if word.startswith(prefix)
    ]


def exposition(context: WebContext, store: Store) -> str:
    """The whole page."""
    runtime = context.runtime
    core = dict(runtime.core.counters)
    refusals = {word: count for word, count in core.items() if word.startswith("refused_")}
    others = {word: count for word, count in core.items() if word not in refusals}
    balance = power_balance(store, context.now_s)
    states = [
        ({"state": state}, count) for state, count in store.rows("SELECT state, COUNT(*) FROM headers GROUP BY 1")
    ]
    size = sum(p.stat().st_size for p in (Path(store.path), Path(store.path + "-wal")) if p.exists())
    requests = runtime.core.readings.requests
    chain = dict(runtime.chain.counters)
    block = chain.pop("block_number", 0)
    families = [
        _family("coordinator_inputs_total", "counter", "Inputs applied.", [({}, runtime.counters["inputs"])]),
        _family("coordinator_groups_total", "counter", "Commits, each of a group.", [({}, runtime.counters["groups"])]),
        _family(
            "coordinator_inputs_dropped_total", "counter", "Inputs dropped because the queue was full.",
            [({}, runtime.counters["inputs_dropped"])],
        ),
        _family("coordinator_queue_length", "gauge", "Inputs that wait.", [({}, runtime.queued)]),
        _family(
            "coordinator_core_faults_total", "counter", "Inputs that broke the core and were left out.",
            [({}, runtime.counters["core_faults"])],
        ),
        _family(
            "coordinator_published_total", "counter", "Messages sent down to homes.",
            [({}, runtime.counters["published"])],
        ),
        _family(
            "coordinator_refusals_total", "counter", "Messages refused, by name of the refusal.",
            _labelled(refusals, "refusal", "refused_"),
        ),
        _family("coordinator_events_total", "counter", "What the core counted.", _labelled(others, "event")),
        _family(
            "coordinator_broker_total", "counter", "What the broker counted.",
            _labelled(runtime.broker.counters, "event", "broker_"),
        ),
        _family("coordinator_chain_total", "counter", "What the chain's side counted.", _labelled(chain, "event")),
        _family("coordinator_chain_block", "gauge", "Newest block seen.", [({}, block)]),
        _family("coordinator_headers", "gauge", "Headers by state.", states),
        _family(
            "coordinator_alarms_total", "counter", "Alarms raised, by code.", _labelled(runtime.alarms.counters, "code")
        ),
        _family("coordinator_http_total", "counter", "What the web counted.", _labelled(context.counters, "event")),
        _family("coordinator_store_bytes", "gauge", "Size of the store and its log.", [({}, size)]),
        _family(
            "coordinator_reading_holes", "gauge", "Ranges of readings that are missing, asked for or given up.",
            [({"state": "asked"}, requests.open_holes - requests.given_up), ({"state": "given_up"}, requests.given_up)],
        ),
        _family("coordinator_homes", "gauge", "Homes with fresh values.", [({}, balance.homes)]),
        _family("coordinator_demand_watts", "gauge", "Consumption of all homes.", [({}, balance.demand_w)]),
        _family("coordinator_supply_watts", "gauge", "Production of all homes.", [({}, balance.supply_w)]),
        _family("coordinator_net_watts", "gauge", "Power drawn from the grid.", [({}, balance.net_w)]),
    ]  # fmt: skip
    return "\n".join(families) + "\n"
