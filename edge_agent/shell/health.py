"""The agent's counters as a dictionary, and as Prometheus text for a file collector or a scrape."""

from __future__ import annotations

from collections.abc import Mapping

GAUGES = frozenset(("link", "clock_status", "epoch", "unsaved", "telemetry_bytes"))
GAUGES |= {"droop_active", "breaker_closed", "breaker_open", "breaker_half_open"}


def snapshot(metrics: Mapping[str, int]) -> dict[str, int]:
    """Sorted by name."""
    return dict(sorted(metrics.items()))


def prometheus_text(metrics: Mapping[str, int], labels: Mapping[str, str]) -> str:
    """Exposition format 0.0.4; every name begins with ``edge_agent_``, counters end in ``_total``."""
    inside = ",".join(f'{name}="{_escaped(value)}"' for name, value in sorted(labels.items()))
    lines = []
    for name, value in sorted(metrics.items()):
        gauge = name in GAUGES or name.startswith(("pending_", "mode_"))
        full = f"edge_agent_{name}" + ("" if gauge else "_total")
        lines += [f"# TYPE {full} {'gauge' if gauge else 'counter'}", f"{full}{{{inside}}} {value}"]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
