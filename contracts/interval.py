"""The market's time grid: intervals of 900 s from the epoch, products of 1, 4, 96 or 672 intervals, rounds and gates.

All times are UTC seconds; intervals are half-open. Local time exists only in dashboards.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

INTERVAL_S = 900
HOUR_S = 3_600
DAY_S = 86_400
INTERVALS_PER_DAY = DAY_S // INTERVAL_S
PRODUCT_LENGTH_FACTOR = 1_024
"""A product's number is ``first_interval * 1024 + length``: readable, ordered by delivery, room for any length."""

FIRST_MONDAY = 4 * INTERVALS_PER_DAY
"""Interval at which weeks are anchored: the epoch was a Thursday, its first Monday four days later."""

SPOT_ROUND = 0xFFFF
"""The round number of the last auction of a quarter-hour: the deviations, traded after delivery."""


class ProductLength(IntEnum):
    """How many intervals a product covers: the flexible trading periods."""

    QUARTER_HOUR = 1
    HOUR = 4
    DAY = 96
    WEEK = 672


PRODUCT_LENGTHS = tuple(int(length) for length in ProductLength)


def interval_of(at_s: int) -> int:
    """Number of the interval that contains the instant ``at_s``."""
    return at_s // INTERVAL_S


def interval_start_s(interval: int) -> int:
    """First second of ``interval``."""
    return interval * INTERVAL_S


@dataclass(frozen=True, slots=True, order=True)
class Product:
    """Delivery of one power level over ``length`` intervals from ``first_interval``; its quantity is per interval."""

    first_interval: int
    length: int

    def __post_init__(self) -> None:
        if self.length not in PRODUCT_LENGTHS:
            raise ValueError(f"no product covers {self.length} intervals")
        first_start = FIRST_MONDAY if self.length == ProductLength.WEEK else 0
        if self.first_interval < 0 or (self.first_interval - first_start) % self.length:
            raise ValueError(f"a product of {self.length} intervals cannot start at interval {self.first_interval}")

    @property
    def number(self) -> int:
        """The product as one integer, as it stands in signed messages."""
        return self.first_interval * PRODUCT_LENGTH_FACTOR + self.length

    @classmethod
    def from_number(cls, number: int) -> Product:
        """The product with that number. Raises ValueError when there is none."""
        return cls(number // PRODUCT_LENGTH_FACTOR, number % PRODUCT_LENGTH_FACTOR)

    @property
    def start_s(self) -> int:
        """First second of delivery."""
        return interval_start_s(self.first_interval)

    @property
    def end_s(self) -> int:
        """First second after delivery."""
        return interval_start_s(self.first_interval + self.length)

    def covers(self, interval: int) -> bool:
        """Whether ``interval`` is delivered by this product."""
        return self.first_interval <= interval < self.first_interval + self.length


def find_product(number: int) -> Product | None:
    """The product with that number; None where no product has it, as in what a liar published."""
    try:
        return Product.from_number(number)
    except ValueError:
        return None


def product_covering(interval: int, length: int) -> Product:
    """The product of ``length`` that delivers in ``interval``. Weeks begin on Monday 00:00 UTC."""
    if length == ProductLength.WEEK:
        return Product((interval - FIRST_MONDAY) // length * length + FIRST_MONDAY, length)
    return Product(interval // length * length, length)


@dataclass(frozen=True, slots=True)
class RoundSchedule:
    """When a product is auctioned: every ``every_s`` from its opening until ``closes_before_s`` before delivery.

    The opening lies ``opens_before_s`` before delivery, or, for a ``day_ahead`` schedule, before the midnight
    (UTC) that begins the delivery day. Round ``n`` clears ``n * every_s`` after the opening; the last one is
    the gate closure. Bids are taken from one period before the first round.
    """

    opens_before_s: int
    closes_before_s: int
    every_s: int
    day_ahead: bool = False

    def __post_init__(self) -> None:
        if self.every_s <= 0 or self.opens_before_s < self.closes_before_s or self.closes_before_s < 0:
            raise ValueError("a schedule opens before it closes, and its rounds have a positive distance")

    def opens_at_s(self, product: Product) -> int:
        """Instant of round 0 of ``product``."""
        anchor_s = product.start_s // DAY_S * DAY_S if self.day_ahead else product.start_s
        return anchor_s - self.opens_before_s

    def last_round(self, product: Product) -> int:
        """Number of the round at gate closure."""
        return (product.start_s - self.closes_before_s - self.opens_at_s(product)) // self.every_s

    def clears_at_s(self, product: Product, round_number: int) -> int:
        """Instant at which that round of ``product`` clears."""
        return self.opens_at_s(product) + round_number * self.every_s

    def gate_closure_s(self, product: Product) -> int:
        """Instant of the last round; bids are taken before it."""
        return self.clears_at_s(product, self.last_round(product))

    def next_round(self, product: Product, now_s: int) -> int | None:
        """Number of the first round that clears strictly after ``now_s``; None when the gate is closed."""
        elapsed_s = now_s - self.opens_at_s(product)
        number = 0 if elapsed_s < 0 else elapsed_s // self.every_s + 1
        return number if number <= self.last_round(product) else None

    def is_open(self, product: Product, now_s: int) -> bool:
        """Whether bids for ``product`` are taken at ``now_s``."""
        return self.opens_at_s(product) - self.every_s <= now_s < self.gate_closure_s(product)


@dataclass(frozen=True, slots=True)
class MarketCalendar:
    """The schedule of every product length that is traded."""

    schedules: tuple[tuple[int, RoundSchedule], ...]

    def __post_init__(self) -> None:
        for length, _ in self.schedules:
            ProductLength(length)

    @property
    def lengths(self) -> tuple[int, ...]:
        """The traded lengths, in intervals."""
        return tuple(length for length, _ in self.schedules)

    def schedule(self, length: int) -> RoundSchedule:
        """Schedule of the products of that length. Raises KeyError where they are not traded."""
        return dict(self.schedules)[length]

    @property
    def gate_leads(self) -> tuple[int, int, int, int]:
        """Whole intervals between the one in which a gate closes and delivery, for the four product lengths.

        A gate closes on the second that ends an interval's rounds or within it; 0 for lengths that are not traded.
        Raises ValueError for a calendar whose gates do not all keep the same distance.
        """
        found = dict.fromkeys(PRODUCT_LENGTHS, 0)
        for length, schedule in self.schedules:
            first = product_covering(4 * INTERVALS_PER_DAY * 7, length)
            leads = set()
            for _ in range(INTERVALS_PER_DAY):
                leads.add(first.first_interval - interval_of(schedule.gate_closure_s(first)))
                first = Product(first.first_interval + length, length)
            if len(leads) != 1:
                raise ValueError(f"the gates of products of {length} intervals close at different distances")
            found[length] = leads.pop()
        quarter, hour, day, week = (found[length] for length in PRODUCT_LENGTHS)
        return quarter, hour, day, week

    def open_products(self, now_s: int) -> Iterator[Product]:
        """Every product whose gate is open at ``now_s``, by length and then by delivery."""
        for length, schedule in self.schedules:
            product = product_covering(interval_of(now_s + schedule.closes_before_s), length)
            while schedule.opens_at_s(product) - schedule.every_s <= now_s:
                if schedule.is_open(product, now_s):
                    yield product
                product = Product(product.first_interval + length, length)

    def rounds_at(self, from_s: int, to_s: int) -> list[tuple[int, Product, int]]:
        """Every ``(clears_at_s, product, round)`` with ``from_s < clears_at_s <= to_s``, in time order."""
        found: list[tuple[int, Product, int]] = []
        for length, schedule in self.schedules:
            product = product_covering(interval_of(max(from_s, 0) + schedule.closes_before_s), length)
            while schedule.opens_at_s(product) <= to_s:
                number = max(0, (from_s - schedule.opens_at_s(product)) // schedule.every_s + 1)
                while number <= schedule.last_round(product) and schedule.clears_at_s(product, number) <= to_s:
                    found.append((schedule.clears_at_s(product, number), product, number))
                    number += 1
                product = Product(product.first_interval + length, length)
        return sorted(found)


DEFAULT_CALENDAR = MarketCalendar(
    (
        (ProductLength.QUARTER_HOUR, RoundSchedule(HOUR_S, 5 * 60, 60)),
        (ProductLength.HOUR, RoundSchedule(9 * HOUR_S, 15 * 60, 5 * 60, day_ahead=True)),
        (ProductLength.DAY, RoundSchedule(12 * HOUR_S, HOUR_S, HOUR_S)),
        (ProductLength.WEEK, RoundSchedule(7 * DAY_S, 6 * HOUR_S, 6 * HOUR_S)),
    )
)
"""Quarter-hours every minute of their last hour until 5 min before delivery; hours every 5 min from 15:00 of the day
before until 15 min before; days hourly from noon of the day before; weeks every six hours over the week before."""

STREET_CALENDAR = MarketCalendar(
    (
        (ProductLength.QUARTER_HOUR, RoundSchedule(HOUR_S, 15 * 60, 15 * 60)),
        (ProductLength.HOUR, RoundSchedule(3 * HOUR_S, HOUR_S, HOUR_S)),
    )
)
"""A calm calendar for a street of a dozen homes and for accelerated days: four rounds a quarter-hour, three an hour."""
