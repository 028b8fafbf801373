"""Topics: what is built parses back, what is not ours is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.topics import PER_METER, Leaf, Topic, downlink_filter, parse_topic, topic, uplink_filter

names = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,31}", fullmatch=True)


@given(names, names, st.sampled_from(list(Leaf)), st.integers(0, 65_535))
def test_a_built_topic_parses_back(feeder: str, edge: str, leaf: Leaf, meter: int) -> None:
    number = meter if leaf in PER_METER else None
    assert parse_topic(topic(feeder, edge, leaf, number)) == Topic(feeder, edge, leaf, number)


@given(st.text(max_size=80))
def test_any_text_is_a_topic_or_none_and_never_raises(text: str) -> None:
    parsed = parse_topic(text)
    assert parsed is None or str(parsed) == text


@pytest.mark.parametrize(
    "text",
    [
        "grid/v1/street/home-1/bid/0",
        "grid/v1/street/home-1/settlement",
        "grid/v1/street/home-1/settlement/00",
        "grid/v1/street/home-1/settlement/65536",
        "grid/v1/street/home-1/settlement/+",
        "grid/v1/street/#/bid",
        "grid/v2/street/home-1/bid",
        "grid/v1/Street/home-1/bid",
    ],
)
def test_a_topic_that_is_not_ours_is_none(text: str) -> None:
    assert parse_topic(text) is None


def test_a_home_listens_only_to_its_own_topics() -> None:
    assert all(t.startswith("grid/v1/street/home-1/") and "+" not in t for t in downlink_filter("street", "home-1"))
    assert not set(downlink_filter("street", "home-1")) & set(uplink_filter("street"))


@pytest.mark.parametrize("name", ["", "+", "a/b", "A", "x" * 33])
def test_a_name_that_cannot_be_a_level_is_refused(name: str) -> None:
    with pytest.raises(ValueError):
        topic(name, "home", Leaf.BID)
