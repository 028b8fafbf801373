"""`[key]`, `[status]` and `[home_assistant]`: complete, or refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.config import AgentConfig, ConfigError, agent_config_from_toml
from edge_agent.config_site import HomeAssistantConfig, KeyConfig, StatusConfig
from tests.edge_agent.test_config import GOOD


def read(tmp_path: Path, text: str) -> AgentConfig:
    """The configuration of that text."""
    (tmp_path / "agent.toml").write_text(text)
    return agent_config_from_toml(tmp_path / "agent.toml")


def keyed(lines: str) -> str:
    """The good configuration with that `[key]`."""
    return GOOD.replace('file = "key"', lines)


def test_without_a_word_the_page_is_for_this_machine_and_home_assistant_hears_nothing(tmp_path: Path) -> None:
    config = read(tmp_path, GOOD)
    assert config.status == StatusConfig(True, "127.0.0.1", 8099) and config.home_assistant is None
    assert config.key == KeyConfig() and config.key_file == tmp_path / "key"
    assert read(tmp_path, GOOD + "[home_assistant]\n").home_assistant == HomeAssistantConfig()


def test_every_key_of_the_site_is_read(tmp_path: Path) -> None:
    text = keyed(
        'credential = "key"\npassword_credential = "password"\nnext_credential = "next"\n'
        "next_at = 2030-01-01T00:00:00Z\nnext_account = 9"
    )
    text += '[status]\nenabled = false\nhost = "0.0.0.0"\nport = 80\nproxy = "172.30.32.2"\n'
    text += '[home_assistant]\nenabled = false\nhost = "ha"\nport = 1884\nusername = "u"\npassword_file = "p"\n'
    text += 'discovery_prefix = "ha/discovery"\nbase_topic = "house"\nevery_s = 60\n'
    config = read(tmp_path, text)
    assert config.key_file is None and config.lease_file == tmp_path / "outbox.db.lease"
    assert config.key == KeyConfig("key", None, "password", None, "next", 1_893_456_000, 9)
    assert config.status == StatusConfig(False, "0.0.0.0", 80, "172.30.32.2")
    wanted = HomeAssistantConfig(False, "ha", 1884, "u", tmp_path / "p", "ha/discovery", "house", 60)
    assert config.home_assistant == wanted


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (keyed(""), "file is missing"),
        (keyed('file = "a"\ncredential = "b"'), "exclude each other"),
        (keyed('credential = "../etc/passwd"'), "name of a systemd credential"),
        (keyed('file = "a"\npassword_file = "b"\npassword_credential = "c"'), "exclude each other"),
        (keyed('file = "a"\nnext_file = "b"'), "belong together"),
        (keyed('file = "a"\nnext_at = 2030-01-01T00:00:00Z'), "belong together"),
        (keyed('file = "a"\nnext_file = "b"\nnext_at = 2030-01-01T00:00:00'), "with its offset"),
        (keyed('file = "a"\nnext_file = "b"\nnext_credential = "c"\nnext_at = 2030-01-01T00:00:00Z'), "exclude"),
        (keyed('file = "a"\nnext_account = 0'), "next_account"),
        (GOOD + "[status]\nport = 0\n", "port"),
        (GOOD + '[status]\nproxy = "home.example.org"\n', "proxy is"),
        (GOOD + '[home_assistant]\nbase_topic = "a/#"\n', "base_topic"),
        (GOOD + '[home_assistant]\ndiscovery_prefix = "/"\n', "discovery_prefix"),
        (GOOD + "[home_assistant]\npassword = 1\n", "unknown key 'password'"),
    ],
)
def test_what_is_wrong_is_refused_by_name(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        read(tmp_path, text)
