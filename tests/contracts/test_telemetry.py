"""Telemetry batches: columns give the readings back, the signature's commitments leave nothing else possible."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.telemetry import (
    CHAIN_START,
    RemoteColumnsError,
    TelemetryReading,
    batch_of,
    chain,
    open_batch,
    pack_columns,
    unpack_columns,
)

value = st.one_of(st.none(), st.integers(-(2**40), 2**40))


@st.composite
def reading_runs(draw: st.DrawFn) -> list[TelemetryReading]:
    first = draw(st.integers(0, 2**40))
    times = sorted(draw(st.lists(st.integers(0, 2**40), min_size=1, max_size=20)))
    return [
        TelemetryReading(first + i, at, draw(st.integers(0, 2**16 - 1)), *(draw(value) for _ in range(6)))
        for i, at in enumerate(times)
    ]


@given(reading_runs())
def test_columns_give_the_readings_back_with_absence_kept(readings: list[TelemetryReading]) -> None:
    batch = batch_of(3, 0, 1, CHAIN_START, readings)
    assert open_batch(batch, pack_columns(readings)) == readings


@given(reading_runs(), st.data())
def test_a_changed_reading_is_not_what_was_signed(readings: list[TelemetryReading], data: st.DataObject) -> None:
    batch = batch_of(3, 0, 1, CHAIN_START, readings)
    place = data.draw(st.integers(0, len(readings) - 1))
    old = readings[place]
    other = TelemetryReading(old.sequence, old.taken_at_s, old.flags ^ 1, *([1] * 6))
    with pytest.raises(RemoteColumnsError):
        open_batch(batch, pack_columns([*readings[:place], other, *readings[place + 1 :]]))


@given(st.binary(max_size=300), st.integers(0, 70_000))
def test_garbage_columns_are_refused_by_name(packed: bytes, count: int) -> None:
    with pytest.raises(RemoteColumnsError):
        unpack_columns(packed, count)


def test_a_decompression_bomb_is_refused_without_inflating_it() -> None:
    with pytest.raises(RemoteColumnsError):
        unpack_columns(zlib.compress(bytes(50_000_000)), 60)


@given(reading_runs())
def test_the_chain_over_parts_is_the_chain_over_the_whole(readings: list[TelemetryReading]) -> None:
    half = len(readings) // 2
    assert chain(chain(CHAIN_START, readings[:half]), readings[half:]) == chain(CHAIN_START, readings)
