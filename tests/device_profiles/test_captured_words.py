"""Words real devices sent, held against the profiles: an independent check of maps that were made from manuals.

The cases are folders of data: `tests/cases/captured_words/*.toml`. A case names a profile, the device, where the words
were published and their origin: `wire` (a trace of requests and answers), `log` (registers a program wrote down) or
`maker` (an exchange the maker prints in its manual). `bytes` are the answer's data as sent. `shown` is what the source
says the device or its program displayed, `means` what the profile reads besides; that has no witness but physics:
phases make the sum, watts and vars the volt-amperes, volts and amperes the watts. SunSpec cases either hold the
device's whole chain, which the profile walks and which must give `chain`, or say where the trace found its `models`.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from math import hypot
from pathlib import Path
from typing import Any

import pytest

from device_profiles.codec import decode, decode_texts
from device_profiles.profile import Profile, RegisterImage, list_profiles, load_profile
from device_profiles.sunspec import FoundModel, resolve, walk_image

CASES = Path(__file__).parents[1] / "cases" / "captured_words"
README = Path(__file__).parents[2] / "device_profiles" / "README.md"
KEYS = {"profile", "device", "source", "origin", "block", "shown", "means", "texts", "models", "chain"}
EXAMPLES = {"huawei_sun2000", "huawei_sun2000_l1"}
"""Whose own [example] is made of captured words."""


@dataclass(frozen=True)
class Case:
    profile: str
    device: str
    source: str
    origin: str
    image: RegisterImage
    shown: dict[str, int] = field(default_factory=dict)
    means: dict[str, int] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    models: tuple[FoundModel, ...] = ()
    chain: tuple[FoundModel, ...] = ()

    def placed(self) -> Profile:
        profile = load_profile(self.profile)
        if profile.sunspec is None:
            return profile
        return resolve(profile, self.models or walk_image(self.image, profile.sunspec.bases))

    def values(self) -> dict[str, int]:
        return decode(self.placed(), self.image)


def words_of(text: str) -> list[int]:
    sent = bytes.fromhex("".join(text.split()))
    return [int.from_bytes(sent[at : at + 2], "big") for at in range(0, len(sent), 2)]


def case_of(row: dict[str, Any]) -> Case:
    assert row.keys() <= KEYS, row.keys() - KEYS
    image = RegisterImage()
    for block in row["block"]:
        image.put(block["function"], block["address"], words_of(block["bytes"]))
    return Case(
        row["profile"], row["device"], row["source"], row["origin"], image,
        row.get("shown", {}), row.get("means", {}), row.get("texts", {}),
        models_of(row, "models"), models_of(row, "chain"),
    )  # fmt: skip


def models_of(row: dict[str, Any], key: str) -> tuple[FoundModel, ...]:
    return tuple(FoundModel(*model) for model in row.get(key, ()))


def cases() -> list[Case]:
    rows = [row for path in sorted(CASES.glob("*.toml")) for row in tomllib.loads(path.read_text("utf-8"))["case"]]
    return [case_of(row) for row in rows]


ALL = cases()
each_case = pytest.mark.parametrize("case", ALL, ids=lambda case: f"{case.profile}: {case.device}")


@each_case
def test_words_a_device_sent_mean_what_was_shown_of_it(case: Case) -> None:
    found = case.values()
    assert {name: found.get(name) for name in case.shown} == case.shown
    assert found == case.shown | case.means
    if case.texts:
        assert decode_texts(case.placed(), case.image) == case.texts


@each_case
def test_every_captured_case_says_where_its_words_were_published(case: Case) -> None:
    assert case.profile in list_profiles()
    assert case.source.startswith("https://") and len(case.source) > len("https://github.com/")
    assert case.origin in {"wire", "log", "maker"}
    assert case.image
    assert case.origin != "maker" or case.shown, "a manual's exchange counts by what the manual says it means"


@pytest.mark.parametrize("case", [case for case in ALL if case.chain], ids=lambda case: case.device)
def test_a_real_chain_is_walked_to_its_end(case: Case) -> None:
    assert walk_image(case.image) == case.chain
    profile = load_profile(case.profile)
    assert len(resolve(profile, case.chain).points) >= len(profile.points) // 2


THREE_POWERS = [case for case in ALL if case.values().keys() >= {"power_w", "power_l1_w", "power_l2_w", "power_l3_w"}]
POWER_TRIANGLES = [case for case in ALL if case.values().keys() >= {"power_w", "reactive_var", "apparent_va"}]
FEEDING = [case for case in ALL if load_profile(case.profile).kind == "inverter" and "current_l1_ma" in case.values()]


@pytest.mark.parametrize("case", THREE_POWERS, ids=lambda case: case.device)
def test_in_what_was_captured_the_phases_make_the_sum(case: Case) -> None:
    found = case.values()
    assert abs(found["power_w"] - sum(found[f"power_l{n}_w"] for n in (1, 2, 3))) <= 10


@pytest.mark.parametrize("case", POWER_TRIANGLES, ids=lambda case: case.device)
def test_in_what_was_captured_watts_and_vars_make_the_volt_amperes(case: Case) -> None:
    found = case.values()
    assert found["apparent_va"] == pytest.approx(hypot(found["power_w"], found["reactive_var"]), rel=0.02)


@pytest.mark.parametrize("case", FEEDING, ids=lambda case: case.device)
def test_in_what_was_captured_an_inverters_volts_times_amperes_make_its_watts(case: Case) -> None:
    found = case.values()
    assert found["power_w"] < 0, "it feeds out"
    product = sum(found.get(f"voltage_l{n}_mv", 0) * found.get(f"current_l{n}_ma", 0) for n in (1, 2, 3)) / 1e6
    assert product == pytest.approx(-found["power_w"], rel=0.08)


def test_a_solaredge_meter_and_its_inverter_agree_that_the_house_feeds_out() -> None:
    inverter, meter = (case.values() for case in ALL if "2024-04-02" in case.device)
    assert inverter["power_w"] == -5520
    assert inverter["power_w"] < meter["power_w"] == -4857


def test_a_kostal_meter_counts_what_was_fed_out_below_zero_and_only_its_own_profile_knows() -> None:
    case = next(case for case in ALL if case.profile == "kostal_ksem_sunspec" and case.values())
    assert case.values()["export_wh"] == 4_793_859
    taken_for_any = decode(resolve(load_profile("sunspec_meter"), case.models), case.image)
    assert taken_for_any["export_wh"] == 2**32 - 4_793_859
    # The counters of the phases say so too: what came in less what went out is the same, to the watt-hour.
    words = [case.image[3, 40069 + 38 + place] for place in range(16)]
    counters = [high << 16 | low for high, low in zip(words[::2], words[1::2], strict=True)]
    fed_out, taken_in = [raw - 2**32 for raw in counters[:4]], counters[4:]
    assert taken_in[0] + fed_out[0] == sum(taken_in[1:]) + sum(fed_out[1:])


@pytest.mark.parametrize(
    "case", [case for case in ALL if case.profile == "huawei_sun2000_l1"], ids=lambda case: case.device
)
def test_a_single_phase_huawei_read_as_three_phases_shows_half_its_voltage(case: Case) -> None:
    right, wrong = case.values()["voltage_l1_mv"], decode(load_profile("huawei_sun2000"), case.image)
    assert 220_000 <= right <= 250_000
    assert wrong["voltage_l1_mv"] == pytest.approx(right / 2, rel=0.03)
    assert wrong["voltage_l2_mv"] == 200


def test_the_readme_marks_exactly_the_profiles_held_to_captured_words() -> None:
    marks: dict[str, str] = {}
    for line in README.read_text(encoding="utf-8").splitlines():
        names = re.match(r"\|((?: ?`[a-z0-9_]+`,?)+) \|.*\| ([^|]*) \|$", line)
        if names:
            marks |= dict.fromkeys(re.findall(r"`([a-z0-9_]+)`", names[1]), names[2])
    wire = {case.profile for case in ALL if case.origin != "maker"} | EXAMPLES
    maker = {case.profile for case in ALL if case.origin == "maker"} - wire
    said = {name: marks.get(name) for name in list_profiles()}
    assert {name for name, mark in said.items() if mark == "device"} == wire
    assert {name for name, mark in said.items() if mark == "maker"} == maker
    assert {name for name, mark in said.items() if mark == "-"} == set(list_profiles()) - wire - maker
