"""The report as files: a picture of the day (PNG) and a page with picture, tables and verdicts (HTML)."""

from __future__ import annotations

import base64
import html
from pathlib import Path

from simulators.street_report import MICRO_PER_CENT, NANO, DayReport, community_sufficiency, render, self_sufficiency

_STYLE = """
body{font:16px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#1b2430;background:#fff}
table{border-collapse:collapse;width:100%}th,td{padding:.3rem .5rem;text-align:right;border-bottom:1px solid #d5dbe2}
th:first-child,td:first-child{text-align:left}img{max-width:100%}.bad{color:#a3121f;font-weight:600}
pre{overflow-x:auto;background:#f3f5f8;padding:1rem}
@media (prefers-color-scheme:dark){
body{color:#e6eaf0;background:#12161c}th,td{border-color:#343c47}pre{background:#1b212a}}
"""


def write_picture(report: DayReport, path: Path) -> None:
    """Prices over the day above, every home's bill with and without the community below."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (prices, bills) = pyplot.subplots(2, 1, figsize=(11, 8), layout="constrained")
    hours = [place / 4 for place in range(len(report.spot_prices))]
    spot = [float("nan") if p is None else p / MICRO_PER_CENT for p in report.spot_prices]
    forward = [float("nan") if p is None else p / MICRO_PER_CENT for p in report.forward_prices]
    prices.axhline(report.tariff_import / MICRO_PER_CENT, color="#888", linestyle=":", label="supplier sells at")
    prices.axhline(report.tariff_export / MICRO_PER_CENT, color="#888", linestyle="--", label="supplier buys at")
    prices.step(hours, spot, where="post", color="#0b6e4f", label="community price (deviations)")
    prices.plot(hours, forward, ".", color="#c8553d", label="forward auctions (mean by volume)")
    prices.set(
        title=f"Prices on {report.date}", xlabel="hour (UTC)", ylabel="cents per kWh", xlim=(0, 24), ylim=(0, None)
    )
    prices.legend(loc="lower left", ncols=2, frameon=False)
    places = range(len(report.homes))
    bills.bar(
        [p - 0.2 for p in places], [h.bill.alone_nano / NANO for h in report.homes], 0.4, color="#b8bfc8", label="alone"
    )
    bills.bar(
        [p + 0.2 for p in places],
        [h.bill.result_nano / NANO for h in report.homes],
        0.4,
        color="#0b6e4f",
        label="with the community",
    )
    bills.axhline(0, color="#444", linewidth=0.8)
    bills.set_xticks(list(places), [home.name for home in report.homes])
    bills.set(title="The day's bill: earned above zero, paid below", ylabel="currency units")
    bills.legend(frameon=False)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def write_page(report: DayReport, picture: Path, path: Path) -> None:
    """One self-contained page: no script, nothing loaded from elsewhere."""
    image = base64.b64encode(picture.read_bytes()).decode()
    rows = "".join(
        f"<tr><td>{html.escape(h.name)}</td><td>{h.load_wh / 1000:.2f}</td><td>{h.production_wh / 1000:.2f}</td>"
        f"<td>{h.bill.bought_wh / 1000:.2f}</td><td>{h.bill.sold_wh / 1000:.2f}</td>"
        f"<td>{100 * (self_sufficiency(h) or 0):.0f} %</td><td>{h.bill.result_nano / NANO:+.2f}</td>"
        f"<td>{h.bill.alone_nano / NANO:+.2f}</td><td>{(h.bill.result_nano - h.bill.alone_nano) / NANO:+.2f}</td></tr>"
        for h in report.homes
    )
    verdicts = "".join(
        f"<li{'' if v.agrees else ' class=bad'}>{html.escape(v.auditor)}: {'agrees' if v.agrees else 'disagrees'} "
        f"({html.escape(v.checked)}){''.join('<br>' + html.escape(f) for f in v.faults[:10])}</li>"
        for v in report.verdicts
    )
    share = community_sufficiency(report)
    path.write_text(
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>A street that trades: {html.escape(report.date)}</title><style>{_STYLE}</style>"
        f"<h1>A street that trades: {html.escape(report.date)}</h1>"
        f"<p>{len(report.homes)} homes covered {100 * (share or 0):.0f} % of their load within the street.</p>"
        f"<img src='data:image/png;base64,{image}' alt='Prices over the day, and each home’s bill with and without the "
        f"community; the numbers stand in the tables below'><h2>Homes</h2><div style='overflow-x:auto'><table><tr>"
        f"<th>home</th><th>load kWh</th><th>solar kWh</th><th>bought kWh</th><th>sold kWh</th><th>own</th>"
        f"<th>bill</th><th>alone</th><th>gain</th></tr>{rows}</table></div><h2>Auditors</h2><ul>{verdicts}</ul>"
        f"<h2>As text</h2><pre>{html.escape(render(report))}</pre></html>",
        encoding="utf-8",
    )
