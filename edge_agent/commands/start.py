"""What the command groups begin with: exit codes, the option that names the configuration, and reading it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from edge_agent.config import AgentConfig

FAILED, UNAVAILABLE, CONFIGURATION = 1, 69, 78
DEFAULT_CONFIG = Path("/etc/energy-grid/agent.toml")
ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="The agent's TOML file.")]


def failed(text: str, code: int) -> typer.Exit:
    """Says why on stderr; to be raised."""
    typer.echo(text, err=True)
    return typer.Exit(code)


def load_config(path: Path) -> AgentConfig:
    """The configuration, or exit 78 with everything that is wrong with it and its profiles."""
    from device_profiles.profile import ProfileError
    from edge_agent.config import ConfigError, agent_config_from_toml
    from edge_agent.shell.runtime import load_profiles

    try:
        config = agent_config_from_toml(path)
        load_profiles(config)
    except (ConfigError, ProfileError) as error:
        raise failed("\n".join(error.errors), CONFIGURATION) from error
    return config


def check_files(config: AgentConfig, by_hand: bool = False) -> None:
    """Says which named files cannot be used; exit 78 where one keeps the agent from starting.

    By hand also where one would end it later; but who asks then may not be the agent's user: what is only denied to him
    is said, and no failure.
    """
    from edge_agent.shell.named_files import troubles

    found = list(troubles(config))
    said = "\n".join(f"{trouble.what}: {trouble.text}" for trouble in found)
    if any(trouble.stops or (by_hand and trouble.ends) for trouble in found if not (by_hand and trouble.denied)):
        raise failed(said, CONFIGURATION)
    if found:
        typer.echo(said, err=True)
