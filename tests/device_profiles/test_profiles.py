"""Every shipped profile is sound, and an unsound one is refused with all its faults at once."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from device_profiles import measurement as words
from device_profiles.codec import decode, encode
from device_profiles.example import example_errors
from device_profiles.profile import (
    Profile,
    ProfileError,
    RegisterImage,
    list_profiles,
    load_profile,
    parse_profile,
)
from device_profiles.sunspec import resolve, walk_image
from device_profiles.sunspec_model import load_model, model_ids

ROOM = Path(words.__file__).parent
SETTLEMENT = {"import_wh", "export_wh", "power_w", "voltage_l1_mv", "frequency_mhz"}


def placed(profile: Profile) -> Profile:
    if profile.sunspec is None:
        return profile
    return resolve(profile, walk_image(RegisterImage(profile.example.registers), profile.sunspec.bases))


@pytest.mark.parametrize("name", list_profiles())
def test_every_example_decodes_to_its_integers_and_encodes_to_its_words(name: str) -> None:
    profile = placed(load_profile(name))
    assert example_errors(profile) == ()
    decoded = decode(profile, profile.example.registers)
    assert decoded == profile.example.values
    image = encode(profile, decoded, profile.example.texts)
    own = {key: word for key, word in profile.example.registers.items() if key in image}
    assert dict(image) == own


@pytest.mark.parametrize("name", [n for n in list_profiles() if load_profile(n).kind == "meter"])
def test_every_meter_gives_what_settlement_needs(name: str) -> None:
    profile = load_profile(name)
    assert profile.measurements >= SETTLEMENT
    assert all(p.speed == "settlement" for p in profile.points if p.counter)
    assert [p.measurement for p in profile.points_of("fast")] == ["power_w"]
    if profile.phases == 3:
        assert profile.measurements >= {"voltage_l2_mv", "voltage_l3_mv"}


def test_the_blueprint_is_a_sound_profile() -> None:
    profile = load_profile(ROOM / "blueprint.toml")
    assert example_errors(profile) == ()


def test_every_example_value_is_plausible() -> None:
    for name in list_profiles():
        for measured, value in load_profile(name).example.values.items():
            known = words.measurement(measured)
            assert known.minimum <= value <= known.maximum, (name, measured)


def test_the_vocabulary_says_its_unit_in_its_name() -> None:
    for name, known in {**words.MEASUREMENTS, **words.SETPOINTS}.items():
        assert known.name == name
        assert name.endswith("_" + known.unit) or known.unit == "count"
        assert known.minimum < known.maximum
        assert known.signed == (known.minimum < 0)
        assert not (known.counter and known.signed)


def test_models_fit_into_their_own_length() -> None:
    for number in model_ids():
        model = load_model(number)
        rows = sorted(model.points.values(), key=lambda row: row.at)
        assert rows[0].at >= 2
        assert rows[-1].at + rows[-1].words <= model.length + 2
        assert all(a.at + a.words <= b.at for a, b in pairwise(rows)), number
        assert all(not row.sf or model.points[row.sf].type == "sunssf" for row in rows)


def test_the_readme_names_every_profile_measurement_and_set_point() -> None:
    text = (ROOM / "README.md").read_text(encoding="utf-8")
    for name in [*list_profiles(), *words.MEASUREMENTS, *words.SETPOINTS]:
        assert f"`{name}`" in text, name


def blueprint() -> str:
    return (ROOM / "meters" / "eastron_sdm120.toml").read_text(encoding="utf-8")


def faults(text: str) -> tuple[str, ...]:
    with pytest.raises(ProfileError) as refused:
        parse_profile(text)
    return refused.value.errors


def test_all_faults_are_told_at_once() -> None:
    text = (
        blueprint()
        .replace('kind = "meter"', 'kind = "toaster"\ncolour = "red"')
        .replace('word_order = "ABCD"', 'word_order = "ACDC"')
        .replace("baud = 2400", "baud = 2401")
        .replace("address = 0x0006", "adress = 0x0006")
        .replace("power_w = {", "power_kw = {")
        .replace("export_wh = { address = 0x004A", "export_wh = { address = 0x0049")
        .replace("scale = 1000 }", "scale = -1000 }", 1)
    )
    found = faults(text)
    for part in (
        "kind is 'toaster'",
        "unknown key 'colour'",
        "word_order is 'ACDC'",
        "baud is 2401",
        "points.current_l1_ma: address is missing",
        "points.current_l1_ma: unknown key 'adress'",
        "points.power_kw: is not a measurement",
        "points.voltage_l1_mv: scale must be a number above 0",
        "points.export_wh: shares registers with import_wh",
        "power_w is not a point of this profile",
    ):
        assert any(part in fault for fault in found), (part, found)


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('name = "eastron_sdm120"', 'name = "../x"', "name must be"),
        ("phases = 1", "phases = 1.0", "phases must be an integer"),
        ("phases = 1", "phases = true", "phases must be an integer"),
        ("max_registers = 40", "max_registers = 126", "max_registers is 126"),
        ("max_registers = 40", "max_registers = 1", "spans more than max_registers"),
        ("[probe]", "[[hole]]\nfunction = 4\nfirst = 0x0D\nlast = 0x0D\n[probe]", "points.power_w: lies in a hole"),
        ("[probe]", "[[hole]]\nfunction = 4\nfirst = 9\nlast = 8\n[probe]", "last is before first"),
        ('power_w = { address = 0x000C, type = "float32"', 'power_w = { address = 0xFFFF, type = "float32"', "65534"),
        ('type = "float32", speed = "fast"', 'type = "string", speed = "fast"', "type is 'string'"),
        ('type = "float32", speed = "fast"', 'type = "int16", absent = [65536], speed = "fast"', "absent holds 65536"),
        ('type = "float32", speed = "fast"', 'type = "int16", sign = 0, speed = "fast"', "sign must be"),
        ("address = 0x0048", "sign = -1, address = 0x0048", "points.import_wh: sign must be"),
        ('type = "float32", speed = "fast"', 'type = "int16", scale = 1e999999999, speed = "fast"', "scale must be"),
        ('measurement = "frequency_mhz"', 'measurement = "soc_permille"', "probe: measurement is 'soc_permille'"),
        ("min = 45_000", "min = 75_000", "min is above max"),
        ("[probe]", "[sunspec]\nchain = [9]\n[probe]", "model 9"),
        ("[probe]", '[[write]]\nname = "power_limit_w"\n[probe]', "write[0]: min is missing"),
    ],
)
def test_each_fault_has_its_sentence(old: str, new: str, fault: str) -> None:
    text = blueprint()
    assert old in text
    found = faults(text.replace(old, new, 1))
    assert any(fault in sentence for sentence in found), found


@pytest.mark.parametrize(
    "text",
    ["", "points = 3", "[[points]]\n", "write = 1", "[points]\npower_w = 5", "name = [", "\x00", "[example]\nblock=3"],
)
def test_rubbish_is_refused_and_never_an_exception_of_another_kind(text: str) -> None:
    assert faults(text)


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('point = "W",', 'point = "Watt",', "model 103 has no point 'Watt'"),
        ('point = "Hz"', 'point = "W"', "cannot be frequency_mhz"),
        ("model = 122", "model = 9999", "there is no table for model 9999"),
        ('point = "WMaxLimPct_RvrtTms"', 'point = "RvrtTms"', "no number 'RvrtTms'"),
        ('point = "WMaxLim_Ena"', 'point = "Mn"', "no number 'Mn'"),
        ("seconds = 60", "seconds = 0", "seconds is 0"),
        ("max = 1000", "max = 1001", "max is 1001"),
        ('read_back = "power_w"', 'read_back = "soc_permille"', "read_back is 'soc_permille'"),
    ],
)
def test_a_sunspec_profile_is_checked_against_the_model_tables(old: str, new: str, fault: str) -> None:
    text = (ROOM / "inverters" / "sunspec_103.toml").read_text(encoding="utf-8")
    assert old in text
    found = faults(text.replace(old, new, 1))
    assert any(fault in sentence for sentence in found), found


def test_a_profile_is_found_by_name_or_path_and_must_be_called_like_its_file(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="eastron_sdm120"):
        load_profile("no_such_meter")
    with pytest.raises(ProfileError, match="cannot be read"):
        load_profile(tmp_path / "gone.toml")
    copy = tmp_path / "my_meter.toml"
    copy.write_text(blueprint(), encoding="utf-8")
    with pytest.raises(ProfileError, match="the file is called"):
        load_profile(copy)
    copy.write_text(blueprint().replace('"eastron_sdm120"', '"my_meter"', 1), encoding="utf-8")
    assert load_profile(copy).name == "my_meter"
    copy.write_text("#" * 300_000, encoding="utf-8")
    with pytest.raises(ProfileError, match="longer than"):
        load_profile(str(copy))


def test_importing_the_room_pulls_in_nothing_but_the_standard_library() -> None:
    code = (
        "import sys; import device_profiles.profile, device_profiles.codec, device_profiles.read_plan,"
        "device_profiles.sunspec, device_profiles.write_codec;"
        "print(*sorted({m.split('.')[0] for m in sys.modules} - set(sys.stdlib_module_names)))"
    )
    run = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False)
    plain = subprocess.run(
        [
            sys.executable,
            "-I",
            "-c",
            "import sys; print(*sorted({m.split('.')[0] for m in sys.modules} - set(sys.stdlib_module_names)))",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert set(run.stdout.split()) - set(plain.stdout.split()) == {"device_profiles"}, run.stderr
