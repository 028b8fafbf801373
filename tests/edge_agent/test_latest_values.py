"""One sample out of several messages: what is current, what is whole, what is summed, and whose hash it has."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.config import ConfigError
from edge_agent.config_reader import read_config
from edge_agent.readings.latest_values import LatestValues
from firmware_bridge.telegram import Telegram, evidence_of
from simulators.agent_toml import agent_toml

AGE_S = 60.0
TOGETHER_S = 10.0


def told(tag: str, **values: int) -> Telegram:
    """A message with these values, whose bytes are its tag."""
    return Telegram(values, {}, None, evidence_of(tag.encode()))


def test_one_message_keeps_its_own_hash() -> None:
    latest = LatestValues(AGE_S, TOGETHER_S)
    latest.take(told("a", import_wh=5, power_w=7), 0)
    assert latest.is_whole(0)
    merged = latest.merged(0)
    assert merged is not None
    assert (merged.values, merged.evidence) == ({"import_wh": 5, "power_w": 7}, evidence_of(b"a"))


def test_several_messages_have_the_hash_of_their_hashes_from_the_oldest_on() -> None:
    latest = LatestValues(AGE_S, TOGETHER_S)
    latest.take(told("b", import_wh=5), 1)
    latest.take(told("a", export_wh=6), 2)
    merged = latest.merged(2)
    assert merged is not None
    assert merged.evidence == hashlib.sha256(evidence_of(b"b") + evidence_of(b"a")).digest()


def test_power_alone_is_not_whole_while_the_registers_are_those_of_before() -> None:
    latest = LatestValues(AGE_S, TOGETHER_S)
    latest.take(told("a", import_wh=5, export_wh=6), 0)
    assert latest.merged(0) is not None
    latest.take(told("b", power_w=9), 1)
    assert not latest.is_whole(1) and not latest.has_registers(1)
    latest.take(told("c", import_wh=7), 2)
    assert not latest.is_whole(2) and latest.has_registers(2)
    latest.take(told("d", export_wh=6), 2)
    assert latest.is_whole(2)
    merged = latest.merged(2)
    assert merged is not None and merged.values == {"import_wh": 7, "export_wh": 6, "power_w": 9}
    assert not latest.is_whole(2)


def test_what_is_too_old_is_absent() -> None:
    latest = LatestValues(AGE_S, TOGETHER_S)
    latest.take(told("a", import_wh=5, voltage_l1_mv=230_000), 0)
    latest.take(told("b", power_w=9), AGE_S)
    merged = latest.merged(AGE_S + 1)
    assert merged is not None and merged.values == {"power_w": 9}
    assert latest.merged(3 * AGE_S) is None


def test_registers_of_two_moments_are_never_in_one_sample() -> None:
    latest = LatestValues(AGE_S, TOGETHER_S)
    latest.take(told("a", export_wh=6, power_w=1), 0)
    assert latest.merged(0) is not None
    latest.take(told("b", import_wh=5), TOGETHER_S + 1)
    assert not latest.is_whole(TOGETHER_S + 1)  # the export is known, and may come any moment
    merged = latest.merged(TOGETHER_S + 1)
    assert merged is not None and merged.values == {"import_wh": 5, "power_w": 1}
    assert merged.evidence == hashlib.sha256(evidence_of(b"a") + evidence_of(b"b")).digest()


def test_registers_that_waited_for_the_next_sample_too_long_are_not_in_it() -> None:
    latest = LatestValues(AGE_S, TOGETHER_S)
    latest.take(told("a", import_wh=5, export_wh=6), 0)
    latest.take(told("b", power_w=9), TOGETHER_S + 1)
    assert not latest.has_registers(TOGETHER_S + 1) and not latest.is_whole(TOGETHER_S + 1)
    latest.take(told("c", import_wh=7, export_wh=6), TOGETHER_S + 2)
    assert latest.is_whole(TOGETHER_S + 2)
    merged = latest.merged(TOGETHER_S + 2)
    assert merged is not None and merged.values == {"import_wh": 7, "export_wh": 6, "power_w": 9}


@given(
    st.lists(
        st.tuples(st.sampled_from(["import_wh", "export_wh", "power_w"]), st.integers(0, 30)), min_size=1, max_size=40
    )
)
def test_the_registers_of_a_sample_are_all_of_the_last_seconds(steps: list[tuple[str, int]]) -> None:
    latest, now_s, came_s = LatestValues(AGE_S, TOGETHER_S), 0, dict[str, int]()
    for name, pause_s in steps:
        now_s += pause_s
        latest.take(told(str(now_s), **{name: now_s}), now_s)
        came_s[name] = now_s
        merged = latest.merged(now_s)
        assert merged is not None
        for register in ("import_wh", "export_wh"):
            fresh = register in came_s and now_s - came_s[register] <= TOGETHER_S
            assert merged.values.get(register) == (came_s[register] if fresh else None)


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 1_000)), max_size=40))
def test_the_sum_of_three_growing_phases_never_falls(steps: list[tuple[int, int]]) -> None:
    latest, phases, before = LatestValues(AGE_S, TOGETHER_S), {1: 0, 2: 0, 3: 0}, 0
    for second, (phase, more_wh) in enumerate(steps):
        phases[phase] += more_wh
        latest.take(told(str(second), **{f"import_l{phase}_wh": phases[phase]}), float(second))
        merged = latest.merged(float(second))
        assert merged is not None
        total = merged.values.get("import_wh")
        if total is not None:
            assert before <= total <= sum(phases.values())
            before = total


def test_a_meter_that_tells_its_total_is_never_summed() -> None:
    latest = LatestValues(AGE_S, TOGETHER_S)
    latest.take(told("a", import_wh=100, import_l1_wh=1, import_l2_wh=2, import_l3_wh=3), 0)
    latest.take(told("b", import_l1_wh=1, import_l2_wh=2, import_l3_wh=3), 2 * AGE_S)
    merged = latest.merged(2 * AGE_S)
    assert merged is not None and "import_wh" not in merged.values


@pytest.mark.parametrize(
    ("paths", "why"),
    [
        ({"import_wh": "energy..total"}, "is no path"),
        ({"import_wh": "energy * zero"}, "no number to multiply by"),
        ({"warmth": "a"}, "is no measurement"),
    ],
)
def test_a_bad_path_is_an_error_of_the_configuration(tmp_path: Path, paths: dict[str, str], why: str) -> None:
    meter: dict[str, str | int] = {"number": 0, "name": "m", "link": "mqtt", "telegram": "json", "topic": "a/#"}
    inner = ", ".join(f'{name} = "{path}"' for name, path in paths.items())
    path = tmp_path / "agent.toml"
    path.write_text(agent_toml("ada", [meter], "a test") + f"paths = {{ {inner} }}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=why):
        read_config(path)
