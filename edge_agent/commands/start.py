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
