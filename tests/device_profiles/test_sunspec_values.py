"""Whole models with their repeated and inner groups, as an installer sees them."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_profiles.profile import load_profile
from device_profiles.register_type import words_from_text
from device_profiles.sunspec import chain_words, layout
from device_profiles.sunspec_model import ModelGroup, load_model, model_ids
from device_profiles.sunspec_values import model_values

ASKED = [1, 101, 102, 103, 111, 112, 113, 120, 121, 122, 123, 124, 160, 201, 202, 203, 204, *range(701, 715)]


def test_every_model_that_was_asked_for_has_a_table() -> None:
    assert set(ASKED) <= set(model_ids())


def groups(group: ModelGroup) -> list[ModelGroup]:
    return [group, *(deeper for inner in group.groups for deeper in groups(inner))]


def test_groups_fit_into_their_size_and_count_by_a_point_of_the_model() -> None:
    for number in model_ids():
        model = load_model(number)
        for top in model.groups:
            for group in groups(top):
                rows = sorted(group.points.values(), key=lambda row: row.at)
                assert rows[0].at == 0 and rows[-1].at + rows[-1].words <= group.size, (number, group.name)
                assert all(a.at + a.words <= b.at for a, b in pairwise(rows))
                assert not group.count or model.points[group.count].type == "uint16"
                assert all(not row.sf or row.sf in model.points for row in rows)


def test_a_volt_var_curve_is_read_point_by_point() -> None:
    words = [705, 13 + 2 * (10 + 2 * 2), 1, 0, 0, 2, 2, 0, 60, 0, 0, 1, 0xFFFE, 0xFFFF, 0]
    for curve in (1, 2):
        words += [2, 1, 0, 10_000, 0xFFFF, 0xFFFF, 0xFFFF, 0, 5, 1]
        words += [9_200 + curve, 300, 10_800, 0x10000 - 440]
    found = dict(model_values(705, words))
    assert found["RvrtTms"] == "60 Secs" and found["Ena"] == "1"
    assert found["Crv[1].Pt[1].V"] == "92.01 VNomPct" and found["Crv[2].Pt[1].V"] == "92.02 VNomPct"
    assert found["Crv[2].Pt[2].Var"] == "-44.0 DeptRef" and found["Crv[1].VRef"] == "100.00 VNomPct"
    assert "Crv[1].VRefAuto" not in found and "Crv[3].ActPt" not in found


def test_a_trip_curve_has_three_inner_curves_once_each() -> None:
    words = [707, 7 + 3 * (1 + 3) + 1, 1, 0, 0, 1, 1, 0xFFFF, 0xFFFE, 0]
    for tenths, ticks in ((500, 16), (880, 200), (450, 8)):
        words += [1, tenths, 0, ticks]
    words[9] = 1
    found = dict(model_values(707, words))
    assert found["Crv[1].ReadOnly"] == "1"
    assert found["Crv[1].MustTrip.Pt[1].V"] == "50.0 VNomPct" and found["Crv[1].MustTrip.Pt[1].Tms"] == "0.16 Secs"
    assert found["Crv[1].MayTrip.Pt[1].V"] == "88.0 VNomPct" and found["Crv[1].MomCess.Pt[1].V"] == "45.0 VNomPct"


def test_texts_floats_and_bits_are_shown_as_they_are() -> None:
    common = [1, 66, *words_from_text("Muster", 16)]
    assert dict(model_values(1, common + [0] * 50))["Mn"] == "Muster"
    image = chain_words(layout(load_profile("fronius_meter")))
    assert all(value for _, value in model_values(213, [image[3, 40072 - 2 + i] for i in range(126)]))
    words = [113, 60] + [0] * 60
    words[22:24] = [0x45CC, 0x6000]
    words[50:52] = [0, 3]
    found = dict(model_values(113, words))
    assert found["W"] == "6540 W" and found["Evt1"] == "0x00000003"


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(model_ids()), st.lists(st.integers(0, 0xFFFF), max_size=120))
def test_no_words_whatever_raise_or_make_it_endless(number: int, words: list[int]) -> None:
    found = model_values(number, words)
    assert len(found) <= 200 + 4 * len(words)
    json.dumps(found)


def test_counts_beyond_the_models_end_stop_there() -> None:
    words = [160, 28, 0, 0, 0, 0, 0, 0, 0xFFFE, 0] + [7] * 20
    assert {name.split(".")[0] for name, _ in model_values(160, words) if "[" in name} == {"module[1]"}


@pytest.mark.parametrize("name", ["fronius_gen24_battery", "sunspec_der"])
def test_a_simulated_device_counts_its_groups(name: str) -> None:
    profile = load_profile(name)
    found = layout(profile)
    image = chain_words(found)
    assert profile.sunspec is not None
    for model in found:
        group = load_model(model.id).repeating
        if group is not None:
            turns = profile.sunspec.repeats.get(model.id, 0)
            assert image[3, model.address + load_model(model.id).points[group.count].at] == turns
            assert model.length == load_model(model.id).length + turns * group.size
