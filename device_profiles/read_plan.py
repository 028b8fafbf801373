"""Which block reads fetch a set of points in the least bus time: an exact optimum, never blocks written by hand.

Cost of a request for n registers on a serial bus, after the Modbus over serial line guide: 8 characters out,
5 + 2n back, silence of 3.5 characters before each of the two frames (1.75 ms above 19200 baud), the device's
turnaround and any extra pause it needs. Over TCP a fixed cost per request and a little per register.

Why dynamic programming over values sorted by address is exact: in a cheapest plan no request lies inside another,
so requests sorted by start are also sorted by end; give each value to the last request that starts at or before
it, and every request holds a run of consecutive values. The best plan is therefore a best cut into runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from .profile_parts import UNRESOLVED, Bus, Span

__all__ = ["Link", "LocalPlanError", "ReadPlan", "Readable", "Request", "plan", "request_us"]

Link: TypeAlias = Literal["tcp", "rtu", "rtu-over-tcp"]

# A request over a home's wired network costs some 5 ms round trip, whatever its length; the registers add the
# processing of two bytes on both sides. Only the ratio matters for the plan.
_TCP_REQUEST_US = 5_000
_TCP_REGISTER_US = 4


class LocalPlanError(ValueError):
    """The points cannot be read as asked: not placed yet, inside a hole, or longer than a request."""


class Readable(Protocol):
    """Anything that knows which registers it needs: Point, TextPoint, WritePoint."""

    @property
    def spans(self) -> tuple[Span, ...]: ...


@dataclass(frozen=True, slots=True)
class Request:
    """One block read: function code 3 or 4, first address, number of registers."""

    function: int
    address: int
    count: int


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """Requests by function and address, and the time they take on the bus, rounded up."""

    requests: tuple[Request, ...]
    bus_ms: int


def request_us(count: int, bus: Bus, link: Link) -> int:
    """Microseconds one request for `count` registers takes, rounded up."""
    own_us = 1000 * (bus.turnaround_ms + bus.pause_ms)
    if link == "tcp":
        return _TCP_REQUEST_US + _TCP_REGISTER_US * count + own_us
    bits = bus.bits_per_character
    # Up to 19200 baud silence is counted in characters, above it is 1.75 ms a frame.
    characters, silence_us = (20 + 2 * count, 0) if bus.baud <= 19_200 else (13 + 2 * count, 3_500)
    return -(-characters * bits * 1_000_000 // bus.baud) + silence_us + own_us


def plan(points: Iterable[Readable], bus: Bus, link: Link) -> ReadPlan:
    """The cheapest set of block reads that covers every register the points need; empty for no points.

    Never more than `bus.max_registers` in a request, never across function codes or `bus.holes`, and no value
    is split over two requests. LocalPlanError where that is impossible.
    """
    spans = {span for point in points for span in point.spans}
    requests: list[Request] = []
    for function in sorted({span[0] for span in spans}):
        own = sorted((address, address + count) for code, address, count in spans if code == function)
        requests += _cut(function, own, bus, link)
    return ReadPlan(tuple(requests), -(-sum(request_us(r.count, bus, link) for r in requests) // 1000))


def _cut(function: int, spans: Sequence[tuple[int, int]], bus: Bus, link: Link) -> list[Request]:
    """Best cut of spans [start, end), sorted, of one function code into runs; fewer requests win a tie."""
    holes = [(h.first, h.last + 1) for h in bus.holes if h.function == function]
    for start, end in spans:
        if start <= UNRESOLVED:
            raise LocalPlanError("a SunSpec point has no address yet, see sunspec.resolve")
        if not _readable(start, end, holes, bus):
            raise LocalPlanError(f"registers {start} to {end - 1} lie in a hole or are more than one request")
    best: list[tuple[int, int]] = [(0, 0)]
    first_of_last: list[int] = [0]
    for stop in range(1, len(spans) + 1):
        offers: list[tuple[int, int, int]] = []
        end = 0
        for first in range(stop - 1, -1, -1):
            start = spans[first][0]
            end = max(end, spans[first][1])
            if not _readable(start, end, holes, bus):
                break  # An earlier start only makes the block longer.
            cost, requests = best[first]
            offers.append((cost + request_us(end - start, bus, link), requests + 1, first))
        cost, requests, first = min(offers)
        best.append((cost, requests))
        first_of_last.append(first)
    found: list[Request] = []
    stop = len(spans)
    while stop:
        first = first_of_last[stop]
        start = spans[first][0]
        found.append(Request(function, start, max(end for _, end in spans[first:stop]) - start))
        stop = first
    return found[::-1]


def _readable(start: int, end: int, holes: Sequence[tuple[int, int]], bus: Bus) -> bool:
    return end - start <= bus.max_registers and not any(a < end and start < b for a, b in holes)
