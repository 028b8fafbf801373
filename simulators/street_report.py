"""The report of a played day as text: bills, energy, prices over the day, gas, headers, verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from simulators.street_judge import FAULTS_SHOWN, AccountBill, ChainHeader, Verdict

NANO = 10**9
MICRO_PER_CENT = 10_000
CHART_ROWS = 8
CHART_COLUMNS = 96
_EIGHTHS = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class HomeResult:
    """One home's day. ``load_wh`` and ``production_wh`` are the physics'; the bill is the judge's."""

    name: str
    devices: str
    load_wh: int
    production_wh: int
    bill: AccountBill


@dataclass(frozen=True, slots=True)
class DayReport:
    """Everything that is shown. Prices are by quarter-hour of the day, micro-currency per kWh."""

    date: str
    homes: Sequence[HomeResult]
    spot_prices: Sequence[int | None]
    forward_prices: Sequence[int | None]
    tariff_import: int
    tariff_export: int
    headers: Sequence[ChainHeader]
    verdicts: Sequence[Verdict]
    wall_s: float
    refusals: dict[str, int]

    @property
    def agreed(self) -> bool:
        """Whether every auditor agrees."""
        return all(verdict.agrees for verdict in self.verdicts)

    @property
    def total(self) -> AccountBill:
        """Sums over the homes."""
        names = AccountBill.__dataclass_fields__
        return AccountBill(**{n: sum(getattr(home.bill, n) for home in self.homes) for n in names})


def self_sufficiency(home: HomeResult) -> float | None:
    """Share of its own load that a home covered itself; None without load."""
    return None if home.load_wh <= 0 else max(0.0, 1 - home.bill.metered_import_wh / home.load_wh)


def community_sufficiency(report: DayReport) -> float | None:
    """Share of all load that was covered within the street: by the roof above or a neighbour's."""
    load_wh = sum(home.load_wh for home in report.homes)
    return None if load_wh <= 0 else max(0.0, 1 - report.total.supplier_import_wh / load_wh)


def render(report: DayReport) -> str:
    """The whole report, plain text of at most 110 columns."""
    parts = [_homes(report), _prices(report), _chain(report), _verdicts(report)]
    return "\n\n".join(parts) + "\n"


def _kwh(wh: int) -> str:
    return f"{wh / 1000:9.2f}"


def _money(nano: int) -> str:
    return f"{nano / NANO:+8.2f}"


def _percent(share: float | None) -> str:
    return "   –" if share is None else f"{100 * share:3.0f}%"


def _homes(report: DayReport) -> str:
    head = (
        f"{report.date}: {len(report.homes)} homes traded a day in {report.wall_s:.0f} s\n\n"
        "home  load kWh  solar kWh  bought kWh   sold kWh   own  | bill with community   alone     gain   devices\n"
    )
    rows = []
    for home in report.homes:
        bill = home.bill
        rows.append(
            f"{home.name:<5}{_kwh(home.load_wh)} {_kwh(home.production_wh)}  {_kwh(bill.bought_wh)}  "
            f"{_kwh(bill.sold_wh)}  {_percent(self_sufficiency(home))}  |          {_money(bill.result_nano)}   "
            f"{_money(bill.alone_nano)} {_money(bill.result_nano - bill.alone_nano)}   {home.devices}"
        )
    total = report.total
    rows.append(
        f"{'all':<5}{_kwh(sum(h.load_wh for h in report.homes))} {_kwh(sum(h.production_wh for h in report.homes))}  "
        f"{_kwh(total.bought_wh)}  {_kwh(total.sold_wh)}  {_percent(community_sufficiency(report))}  |          "
        f"{_money(total.result_nano)}   {_money(total.alone_nano)} {_money(total.result_nano - total.alone_nano)}"
    )
    foot = (
        "\nA bill is what is earned (+) or paid (-) in currency units; alone: everything from and to the supplier.\n"
        f"From the supplier {total.supplier_import_wh / 1000:.2f} kWh, to the supplier "
        f"{total.supplier_export_wh / 1000:.2f} kWh; the line 'all' shows the share of load covered in the street."
    )
    return head + "\n".join(rows) + foot


def _prices(report: DayReport) -> str:
    low, high = report.tariff_export, report.tariff_import
    title = "price over the day, cents/kWh (█ spot price of the deviations, • forward auctions)\n"
    lines = chart(report.spot_prices, report.forward_prices, low, high)
    labels = f"{'':7}" + "".join(f"{hour:02d}:00".ljust(CHART_COLUMNS // 4) for hour in (0, 6, 12, 18))
    return title + "\n".join(lines) + "\n" + labels


def chart(bars: Sequence[int | None], dots: Sequence[int | None], low: int, high: int) -> list[str]:
    """Bars of eighths with dots over them, ``CHART_ROWS`` lines, one column an entry; scale from low to high."""
    span = max(1, high - low)
    lines = []
    for row in range(CHART_ROWS - 1, -1, -1):
        cells = []
        for place, bar in enumerate(bars):
            dot = dots[place] if place < len(dots) else None
            if dot is not None and min(CHART_ROWS - 1, max(0, (dot - low) * CHART_ROWS // span)) == row:
                cells.append("•")
            else:
                eighths = 0 if bar is None else (bar - low) * CHART_ROWS * 8 // span - row * 8
                cells.append(_EIGHTHS[max(0, min(8, eighths))])
        label = (low + span * (row + 1) // CHART_ROWS) / MICRO_PER_CENT
        lines.append(f"{label:6.1f} " + "".join(cells))
    return lines


def _chain(report: DayReport) -> str:
    gas = [header.gas for header in report.headers]
    final = sum(header.final for header in report.headers)
    if not gas:
        return "chain: no header was posted"
    lines = [
        f"chain: {len(gas)} headers posted, {final} final; gas per header {min(gas):,} to {max(gas):,}, "
        f"in all {sum(gas):,} ({sum(gas) // max(1, len(report.homes) * len(gas)):,} a home and interval)"
    ]
    states = "".join("F" if header.final else "p" for header in report.headers)
    lines += [f"  {states[i : i + 100]}" for i in range(0, len(states), 100)]
    lines.append("  F: final, nobody can challenge it any more   p: posted, within its challenge window")
    refused = ", ".join(f"{count} {name}" for name, count in sorted(report.refusals.items())) or "none"
    lines.append(f"messages refused at the border: {refused}")
    return "\n".join(lines)


def _verdicts(report: DayReport) -> str:
    lines = []
    for verdict in report.verdicts:
        lines.append(f"  {'agrees   ' if verdict.agrees else 'DISAGREES'}  {verdict.auditor:<14} {verdict.checked}")
        lines += [f"             – {fault}" for fault in verdict.faults[:FAULTS_SHOWN]]
        if len(verdict.faults) > FAULTS_SHOWN:
            lines.append(f"             – and {len(verdict.faults) - FAULTS_SHOWN} more")
    close = "every auditor agrees" if report.agreed else "NOT every auditor agrees"
    return "auditors, recomputing from the chain and the public record:\n" + "\n".join(lines) + f"\n\n{close}"
