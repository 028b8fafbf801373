"""The page for people in the house, as one text without anything from elsewhere: no script, no picture, no font.

It is made for a phone held in one hand: what matters first (is all well, what flows now), details below. Colours
follow the phone's light or dark setting; state is said in words and shape, never by colour alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from html import escape

from contracts.codes import ClockStatus
from edge_agent.announcement import VERSION
from edge_agent.effects import Alarm
from edge_agent.home_assistant import SILENT_MS, decimal_text, quantity_of
from edge_agent.status import AgentStatus, DeviceStatus

REFRESH_S = 30
"""Long enough to read what was unfolded."""
_CLOCK_WORDS = {
    ClockStatus.UNKNOWN: "unknown",
    ClockStatus.INFORMATIVE: "not synchronised",
    ClockStatus.SYNCHRONISED: "synchronised",
    ClockStatus.RELATIVE: "relative",
}
_MODE_WORDS = {
    "autonomous": "by itself",
    "remote": "steered by the operator",
    "hold": "holds the last order",
    "fallback": "fell back",
    "locked": "locked",
}
_WAITING_WORDS = {
    "bid": "bids",
    "settlement": "settlement readings",
    "settlement_gap": "settlement gaps",
    "telemetry_gap": "telemetry gaps",
    "telemetry": "telemetry batches",
}
_LEADING = ("power_w", "import_wh", "export_wh", "soc_permille")
_LABELS = {
    "import_wh": "Taken in",
    "export_wh": "Given out",
    "soc_permille": "Charge",
}
_GRID_LABELS = {"import_wh": "Taken from the grid", "export_wh": "Given to the grid"}

STYLE = """
:root{color-scheme:light dark;--page:#f4f3ef;--card:#fff;--ink:#1c2420;--soft:#5d6a63;--line:#e3e2da;
--good:#0b6b46;--good-bg:#e2f2e9;--warn:#7d4e00;--warn-bg:#fdf0d5;--bad:#a31f1f;--bad-bg:#fbe5e3}
@media (prefers-color-scheme:dark){:root{--page:#121614;--card:#1b211e;--ink:#edf1ee;--soft:#9daaa3;--line:#2b332f;
--good:#6fd6a5;--good-bg:#16352a;--warn:#f0c070;--warn-bg:#3a2c10;--bad:#ff9d94;--bad-bg:#421c1a}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,
"DejaVu Sans",sans-serif;-webkit-text-size-adjust:100%}
main{max-width:34rem;margin:0 auto;padding:1.25rem 1rem 2.5rem}
header{display:flex;justify-content:space-between;align-items:baseline;gap:1rem;margin:0 .25rem 1rem}
h1{font-size:1.35rem;line-height:1.2;margin:0;letter-spacing:-.01em;overflow-wrap:anywhere}
h2{font-size:1.05rem;margin:0;overflow-wrap:anywhere}
header span,.soft{color:var(--soft);font-size:.875rem}
.card{background:var(--card);border:1px solid var(--line);border-radius:1rem;padding:1rem 1.1rem;margin-bottom:.8rem}
.verdict{display:flex;gap:.75rem;align-items:center;border:0;font-weight:600}
.verdict i{flex:none;width:2rem;height:2rem;border-radius:50%;display:grid;place-items:center;font-style:normal;
background:currentColor}
.verdict i b{color:var(--card);font-size:1.05rem;line-height:1}
.good{color:var(--good);background:var(--good-bg)}.warn{color:var(--warn);background:var(--warn-bg)}
.bad{color:var(--bad);background:var(--bad-bg)}
.head{display:flex;justify-content:space-between;gap:.75rem;align-items:baseline;flex-wrap:wrap}
.tag{font-size:.8125rem;font-weight:600;border-radius:99px;padding:.1rem .6rem;white-space:nowrap}
.now{font-size:2.5rem;line-height:1.1;font-weight:650;letter-spacing:-.02em;margin:.6rem 0 .1rem;
font-variant-numeric:tabular-nums}
.now small{font-size:1.05rem;font-weight:500;color:var(--soft);letter-spacing:0;margin-left:.3rem}
dl{display:grid;grid-template-columns:1fr auto;gap:.4rem 1rem;margin:.8rem 0 0}
.old{color:var(--soft)}.fault{margin:.5rem 0 0;color:var(--bad);overflow-wrap:anywhere}
.verdict p{margin:.15rem 0}
dt{color:var(--soft);white-space:nowrap}
dd{margin:0;text-align:right;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
details{margin-top:.8rem;border-top:1px solid var(--line);padding-top:.6rem}
summary{cursor:pointer;color:var(--soft);font-size:.9375rem;min-height:1.75rem}
details dl{margin-top:.3rem;font-size:.9375rem}
ul{list-style:none;margin:.5rem 0 0;padding:0}li{padding:.55rem 0;border-top:1px solid var(--line)}
li:first-child{border:0}li p{margin:.1rem 0 0;overflow-wrap:anywhere}
footer{color:var(--soft);font-size:.8125rem;margin:1rem .25rem 0;display:flex;flex-wrap:wrap;
justify-content:space-between;gap:.2rem 1rem}
a{color:inherit}
"""


def page(status: AgentStatus, alarms: Iterable[tuple[int, Alarm]], problems: Iterable[str]) -> str:
    """The whole page. ``alarms`` with their instants, newest last; ``problems`` is what is wrong now."""
    now = _time_text(status.now_ms)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<meta http-equiv="refresh" content="{REFRESH_S}"><title>{escape(status.edge)} · energy-grid</title>'
        f"<style>{STYLE}</style></head><body><main>"
        f"<header><h1>{escape(status.edge)}</h1><span>feeder {escape(status.feeder)} · account {status.account}</span>"
        f"</header>{_verdict(status, list(problems))}"
        + "".join(_device(device, status.now_ms) for device in status.devices)
        + _connection(status)
        + _alarms(list(alarms), status.now_ms)
        + f'<footer><span>{now} UTC</span><span>edge-agent {VERSION} · <a href="metrics">metrics</a></span></footer>'
        "</main></body></html>"
    )


def problems_of(status: AgentStatus) -> list[str]:
    """What keeps the home from being settled or from trading, in words."""
    found = []
    for device in status.devices:
        if device.role == "settlement" and is_silent(device, status.now_ms):
            found.append(f"{device.name} does not answer")
    if not status.clock_known:
        found.append("the clock is not synchronised: nothing is signed yet")
    if not status.link:
        found.append("no link to the operator: readings are kept")
    return found


def is_silent(device: DeviceStatus, now_ms: int) -> bool:
    """Whether a device has shown nothing for too long to be believed."""
    return device.taken_at_ms is None or abs(now_ms - device.taken_at_ms) >= SILENT_MS


def _verdict(status: AgentStatus, problems: list[str]) -> str:
    if not problems:
        return '<section class="card verdict good"><i><b>✓</b></i><span>All is well</span></section>'
    kind = "bad" if any(is_silent(d, status.now_ms) for d in status.devices if d.role == "settlement") else "warn"
    text = "".join(f"<p>{escape(_up(problem))}</p>" for problem in problems)
    return f'<section class="card verdict {kind}"><i><b>!</b></i><div>{text}</div></section>'


def _device(device: DeviceStatus, now_ms: int) -> str:
    silent = is_silent(device, now_ms)
    tag = '<span class="tag bad">silent</span>' if silent else '<span class="tag good">measuring</span>'
    parts = [
        f'<section class="card"><div class="head"><h2>{escape(device.name)}</h2>{tag}</div>',
        f'<div class="soft">{escape(device.role)} · {escape(device.kind)}</div>',
    ]
    values = device.values
    if "power_w" in values:
        direction = "into" if values["power_w"] >= 0 else "out of"
        what = "the home" if device.role == "settlement" else "the device"
        amount, unit = _split(_shown("power_w", abs(values["power_w"])))
        parts.append(
            f'<div class="now{" old" if silent else ""}">{amount}<small>{unit} {direction} {what}</small></div>'
        )
    labels = _LABELS | _GRID_LABELS if device.role == "settlement" else _LABELS
    rows = [(labels[name], _shown(name, values[name])) for name in _LEADING[1:] if name in values]
    if device.mode is not None:
        rows.append(("Steering", _MODE_WORDS.get(device.mode, device.mode)))
    if device.taken_at_ms is not None:
        rows.append(("Last value", _age_text(now_ms - device.taken_at_ms)))
    if device.fault is not None:
        parts.append(f'<p class="fault">{escape(device.fault)}</p>')
    parts.append(_list(rows))
    others = [(_label(name), _shown(name, value)) for name, value in sorted(values.items()) if name not in _LEADING]
    if others:
        parts.append(f"<details><summary>{len(others)} more values</summary>{_list(others)}</details>")
    return "".join(parts) + "</section>"


def _connection(status: AgentStatus) -> str:
    link = '<span class="tag good">linked</span>' if status.link else '<span class="tag warn">no link</span>'
    waits = [(_WAITING_WORDS.get(kind, kind), str(count)) for kind, count in sorted(status.waiting.items()) if count]
    rows = [("Clock", _CLOCK_WORDS[status.clock]), *(waits or [("Waiting for the operator", "nothing")])]
    return (
        f'<section class="card"><div class="head"><h2>Operator</h2>{link}</div>{_list([(_up(a), b) for a, b in rows])}'
        "</section>"
    )


def _alarms(alarms: list[tuple[int, Alarm]], now_ms: int) -> str:
    if not alarms:
        return ""
    rows = "".join(
        f'<li><div class="head"><b>{escape(alarm.code)}</b><span class="soft">{_age_text(now_ms - at_ms)}</span></div>'
        f"<p>{escape(alarm.text)}</p></li>"
        for at_ms, alarm in reversed(alarms)
    )
    return f'<section class="card"><h2>Last alarms</h2><ul>{rows}</ul></section>'


def _list(rows: list[tuple[str, str]]) -> str:
    inside = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in rows)
    return f"<dl>{inside}</dl>" if rows else ""


def _shown(name: str, value: int) -> str:
    quantity = quantity_of(name)
    if quantity is None:
        return str(value)
    places = quantity.places
    if quantity.unit in ("kWh", "V", "A", "°C"):  # two places less are read more easily
        cut = 10 ** (places - 1)
        value, places = (abs(value) // cut) * (1 if value >= 0 else -1), 1
    text = decimal_text(value, places)
    whole, point, part = text.partition(".")
    grouped = f"{int(whole):,}".replace(",", "\u202f") if whole not in ("-0",) else whole
    return f"{grouped}{point}{part}" + (f" {quantity.unit}" if quantity.unit else "")


def _split(text: str) -> tuple[str, str]:
    amount, _, unit = text.partition(" ")
    return amount, unit


def _label(name: str) -> str:
    return _up(name.rsplit("_", 1)[0].replace("_", " ").replace(" l", " L"))


def _up(text: str) -> str:
    return text[:1].upper() + text[1:]


def _age_text(age_ms: int) -> str:
    seconds = max(age_ms, 0) // 1000
    for size, name in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size:
            count = seconds // size
            return f"{count} {name}{'s' if count > 1 else ''} ago"
    return f"{seconds} s ago" if seconds else "now"


def _time_text(now_ms: int) -> str:
    return datetime.fromtimestamp(now_ms // 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def status_document(status: AgentStatus, problems: Iterable[str]) -> Mapping[str, object]:
    """The same for programs."""
    return {
        "problems": list(problems),
        "link": status.link,
        "clock": status.clock.name.lower(),
        "waiting": dict(status.waiting),
        "devices": {
            device.name: {"silent": is_silent(device, status.now_ms), "fault": device.fault, "mode": device.mode}
            for device in status.devices
        },
    }
