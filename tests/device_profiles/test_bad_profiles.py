"""Whatever is done to a profile's file, it is read as a sound profile or refused with all its faults by name."""

from __future__ import annotations

import contextlib
import tomllib
from collections.abc import Iterator
from copy import deepcopy
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_profiles import measurement
from device_profiles.codec import LocalCodecError, decode, encode
from device_profiles.profile import Profile, ProfileError, list_profiles, load_profile
from device_profiles.profile_reader import read_profile
from device_profiles.read_plan import plan
from device_profiles.sunspec import layout, resolve
from device_profiles.write_codec import decode_write, encode_release, encode_write

ROOM = Path(measurement.__file__).parent
FILES = [ROOM / "blueprint.toml"] + [
    next(ROOM.glob(f"*/{name}.toml"))
    for name in ("carlo_gavazzi_em24_e1", "sma_battery", "keba_p30", "fronius_gen24_battery", "solaredge_inverter")
]

Path_ = tuple[str | int, ...]


def document(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)


def keys(value: Any, at: Path_ = ()) -> Iterator[Path_]:
    """Every place in the document that has a name or a number."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield (*at, key)
            yield from keys(inner, (*at, key))
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for place, inner in enumerate(value):
            yield from keys(inner, (*at, place))


def put(table: Any, at: Path_, value: Any) -> None:
    for key in at[:-1]:
        table = table[key]
    table[at[-1]] = value


def remove(table: Any, at: Path_) -> None:
    for key in at[:-1]:
        table = table[key]
    del table[at[-1]]


def check(profile: Profile) -> None:
    """A profile that was not refused can be used: placed, planned, shown, read and written, or says why not."""
    if profile.sunspec is not None and not profile.resolved:
        try:
            profile = resolve(profile, layout(profile))
        except ValueError:
            return
    plan(profile.points, profile.bus, "rtu")
    try:
        image = encode(profile, {})
    except LocalCodecError:
        return
    decode(profile, image)
    for write in profile.writes:
        decode_write(profile, write.name, image)
        encode_release(profile, write.name)
        with contextlib.suppress(LocalCodecError):
            encode_write(profile, write.name, write.minimum, image)


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.sampled_from([0, 1, 2, 65_535, 65_536, -1]),
    st.decimals(allow_nan=True, allow_infinity=True),
    st.text(max_size=8),
    st.sampled_from(["", "ABCD", "float32", "string", "sunssf", "power_w", "W", "meter"]),
    st.lists(st.integers(-2, 70_000), max_size=3),
    st.just([[]]),
    st.just({}),
    st.just([{}]),
    st.just({"nonsense": 1}),
)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
@settings(max_examples=60, deadline=None)
@given(draw=st.data())
def test_any_value_at_any_key_is_used_or_refused_by_name(path: Path, draw: st.DataObject) -> None:
    table = document(path)
    places = sorted(keys(table), key=str)
    for at in draw.draw(st.lists(st.sampled_from(places), min_size=1, max_size=3)):
        try:
            put(table, at, deepcopy(draw.draw(VALUES)))
        except (KeyError, TypeError, IndexError):
            continue  # an earlier change took this place away
    try:
        profile = read_profile(table)
    except ProfileError as refused:
        assert refused.errors and all(": " in error for error in refused.errors)
        return
    check(profile)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_key_taken_away_or_misspelt_is_used_or_refused_and_a_misspelt_one_always_refused(path: Path) -> None:
    refusals = 0
    for at in keys(document(path)):
        table = document(path)
        remove(table, at)
        try:
            check(read_profile(table))
        except ProfileError as refused:
            assert refused.errors
            refusals += 1
        if at[0] == "example" and len(at) > 2 and at[1] != "block":
            continue  # names of measurements: their own sentence
        table = document(path)
        put(table, (*at[:-1], f"{at[-1]}x"), 1)
        with pytest.raises(ProfileError):
            read_profile(table)
    assert refusals > 10, "most keys are required"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_wrong_word_everywhere_is_told_everywhere_at_once(path: Path) -> None:
    table = document(path)
    broken = 0
    for name, row in table["points"].items():
        if isinstance(row, dict):
            row["colour"] = "red"
            broken += 1
            assert name
    table["bus"]["colour"] = "red"
    for write in table.get("write", []):
        write["colour"] = "red"
        broken += 1
    with pytest.raises(ProfileError) as refused:
        read_profile(table)
    assert sum("unknown key 'colour'" in error for error in refused.value.errors) == broken + 1


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"power_w": {"address": 4, "type": "float32", "minus": [8]}}, "plus and minus are for whole numbers"),
        ({"import_wh": {"address": 16, "type": "uint32", "minus": [18]}}, "minus makes no import_wh"),
        ({"power_w": {"address": 4, "type": "int32", "magnitude": True}}, "magnitude takes the sign off power_w"),
        ({"power_w": {"address": 4, "type": "int32", "magnitude": 1}}, "magnitude must be true or false"),
        ({"power_w": {"address": 4, "type": "int32", "plus": [5]}}, "shares registers with"),
        ({"power_w": {"address": 4, "type": "int32", "minus": [0x20]}}, "lies in a hole"),
        ({"power_w": {"address": 4, "type": "int32", "plus": [65_535]}}, "plus holds 65535"),
        ({"power_w": {"address": 4, "type": "int32", "zero": [2**32]}}, "zero holds 4294967296"),
    ],
)
def test_sums_are_checked_like_every_other_point(change: dict[str, Any], fault: str) -> None:
    table = document(ROOM / "blueprint.toml")
    table["points"] |= change
    with pytest.raises(ProfileError) as refused:
        read_profile(table)
    assert any(fault in error for error in refused.value.errors), refused.value.errors


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"below_zero": {"address": 0x300}}, "is for a set-point with a negative min"),
        ({"watchdog": {"seconds": 90_000}}, "seconds is 90000"),
        ({"watchdog": {"address": 0x203, "seconds": 60, "step_s": 61}}, "step_s is 61"),
        ({"watchdog": {}}, "seconds is missing"),
        ({"watchdog": {"address": 0x203, "seconds": 60, "least_s": 61}}, "least_s is 61"),
        ({"of": {"type": "uint16"}}, "address is missing"),
        ({"shown": {"address": 1}}, "type is missing"),
        ({"name": "power_limit_permille", "max": 1000, "fallback": 1, "of": {"address": 9}}, "is a share already"),
    ],
)
def test_the_parts_of_a_set_point_are_checked(change: dict[str, Any], fault: str) -> None:
    table = document(ROOM / "blueprint.toml")
    table["write"][0] |= change
    with pytest.raises(ProfileError) as refused:
        read_profile(table)
    assert any(fault in error for error in refused.value.errors), refused.value.errors


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('"module[3].DCW"', '"module[0].DCW"', "has no point 'module[0].DCW'"),
        ('"module[3].DCW"', '"module[17].DCW"', "has no point 'module[17].DCW'"),
        ('"module[3].DCW"', '"string[3].DCW"', "has no point"),
        ('minus = "module[4].DCW"', 'minus = "module[4].DCWH"', "cannot be power_w"),
        ("repeats = { 160 = 4 }", "repeats = { 161 = 4 }", "repeats names model 161"),
        ("repeats = { 160 = 4 }", "repeats = { 160 = 17 }", "160 is 17"),
        ("repeats = { 160 = 4 }", "repeats = { x = 4 }", "unknown key 'x'"),
        ('of = { point = "WChaMax" }', 'of = { point = "WChaMaxx" }', "no number 'WChaMaxx'"),
        ('of = { point = "WChaMax" }', "", "cannot be power_setpoint_w"),
    ],
)
def test_points_of_groups_and_shares_are_checked_against_the_tables(old: str, new: str, fault: str) -> None:
    text = (ROOM / "batteries" / "fronius_gen24_battery.toml").read_text(encoding="utf-8")
    assert old in text
    with pytest.raises(ProfileError) as refused:
        read_profile(tomllib.loads(text.replace(old, new, 1), parse_float=Decimal))
    assert any(fault in error for error in refused.value.errors), refused.value.errors


def test_every_shipped_file_is_found_and_lies_where_its_kind_says() -> None:
    folders = {"meter": "meters", "inverter": "inverters", "battery": "batteries", "charger": "chargers"}
    files = {p.stem: p.parent.name for p in ROOM.glob("*s/*.toml") if p.parent.name in folders.values()}
    assert {name: folders[load_profile(name).kind] for name in list_profiles()} == files
