"""``coordinator``: what the grid operator types.

What a command returns goes to stdout, what it does to stderr; ``--json`` gives one object a line; exit codes are those
of ``shell/terminal.py``. Commands that speak to a chain alone are in ``shell/chain_commands.py``,
``shell/oracle_commands.py`` and ``shell/watch_commands.py``.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coordinator.shell.chain_commands import deploy
from coordinator.shell.oracle_commands import oracle_app
from coordinator.shell.terminal import FAILED, UNAVAILABLE, WRONG_CONFIGURATION, fail, say
from coordinator.shell.watch_commands import verify, watch

if TYPE_CHECKING:
    from coordinator.running import RunningCoordinator
    from coordinator.shell.operator_config import OperatorConfig

HTTP_TIMEOUT_S = 10

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Run a feeder's market, settlement and grid.")
config_app = typer.Typer(no_args_is_help=True, help="Look at the configuration.")
app.add_typer(config_app, name="config")
app.add_typer(oracle_app, name="oracle")
app.command()(deploy)
app.command()(verify)
app.command()(watch)

ConfigOption = Annotated[Path | None, typer.Option("--config", "-c", help="TOML file")]
JsonOption = Annotated[bool, typer.Option("--json", help="one JSON object a line")]
UrlOption = Annotated[str, typer.Option("--http", help="URL of the running coordinator")]
DEFAULT_URL = "http://127.0.0.1:8080"


def _config(path: Path | None, flags: dict[str, Any] | None = None) -> OperatorConfig:
    from coordinator.shell.operator_config import LocalConfigError, load_config

    try:
        return load_config(path, os.environ, flags or {})
    except LocalConfigError as error:
        for fault in error.faults:
            say(f"coordinator: {fault}")
        raise typer.Exit(WRONG_CONFIGURATION) from error


def _host_port(text: str | None, option: str) -> tuple[str | None, int | None]:
    if text is None:
        return None, None
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit():
        raise typer.BadParameter("expected HOST:PORT", param_hint=option)
    return host.strip("[]"), int(port)


@app.command()
def run(
    config: ConfigOption = None,
    broker: Annotated[str | None, typer.Option(help="external broker, mqtt://host:port; else the embedded one")] = None,
    mqtt: Annotated[str | None, typer.Option(help="HOST:PORT of the embedded broker")] = None,
    rpc: Annotated[str | None, typer.Option(help="URLs of EVM nodes, by commas; without: unposted")] = None,
    deployment: Annotated[str | None, typer.Option(help="file that `deploy` wrote")] = None,
    http: Annotated[str | None, typer.Option(help="HOST:PORT of the web interface")] = None,
    store: Annotated[str | None, typer.Option(help="the store's file")] = None,
    as_json: JsonOption = False,
) -> None:
    """Run the coordinator until it is interrupted."""
    web_host, web_port = _host_port(http, "--http")
    mqtt_host, mqtt_port = _host_port(mqtt, "--mqtt")
    flags = {
        "broker.url": broker, "broker.host": mqtt_host, "broker.port": mqtt_port, "chain.rpc": rpc,
        "chain.deployment": deployment, "web.host": web_host, "web.port": web_port, "store.path": store,
    }  # fmt: skip
    settings = _config(config, flags)
    import asyncio

    from coordinator.shell.alarms import AlarmLog
    from coordinator.shell.assembly import run_coordinator
    from coordinator.shell.operator_config import LocalConfigError
    from coordinator.store.read_store import StoreUnavailable
    from coordinator.web.app import create_app
    from coordinator.web.limits import RateLimit

    def make_app(running: RunningCoordinator, token: str | None) -> Any:
        rate = RateLimit(settings.web.rate_per_s, settings.web.burst)
        return create_app(running, operator_token=token, open_reads=settings.web.open_reads, rate=rate)

    try:
        asyncio.run(run_coordinator(settings, AlarmLog(as_json=as_json), make_app, say))
    except LocalConfigError as error:
        fail("; ".join(error.faults), WRONG_CONFIGURATION)
    except OSError as error:
        fail(str(error), UNAVAILABLE)
    except StoreUnavailable as error:
        fail(f"the store {settings.store.path} cannot be used: {error}", UNAVAILABLE)
    except Exception as error:  # what the parts raise: an address in use, a deployment that is not there, a core fault
        local = type(error).__name__.startswith("Local")
        fail(str(error) or type(error).__name__, WRONG_CONFIGURATION if local else FAILED)


@app.command()
def key(path: Annotated[Path, typer.Argument(help="new file")]) -> None:
    """Make a new private key, and print its address."""
    import secrets

    from contracts.signature import address_of
    from coordinator.shell.operator_config import write_key

    private_key = secrets.token_bytes(32)
    try:
        write_key(path, private_key)
    except OSError as error:
        fail(str(error), FAILED)
    print("0x" + address_of(private_key).hex())


def _ask(url: str, path: str, token_file: Path | None = None, body: dict[str, Any] | None = None) -> Any:
    from urllib.error import HTTPError, URLError
    from urllib.request import Request, urlopen

    headers = {"Content-Type": "application/json"}
    if token_file is not None:
        try:
            headers["Authorization"] = "Bearer " + token_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            fail(str(error), WRONG_CONFIGURATION)
    content = None if body is None else json.dumps(body).encode()
    try:
        with urlopen(Request(url.rstrip("/") + path, content, headers), timeout=HTTP_TIMEOUT_S) as response:
            return json.load(response)
    except HTTPError as error:
        fail(_problem_text(error.read()) or f"{path} answers {error.code}", FAILED)
    except (URLError, OSError, ValueError) as error:
        fail(f"{url} does not answer: {error}", UNAVAILABLE)


def _problem_text(body: bytes) -> str:
    try:
        problem = json.loads(body)
        return f"{problem['code']}: {problem['detail']}"
    except (ValueError, KeyError, TypeError):
        return ""


@app.command()
def enrol(
    account: Annotated[int, typer.Argument(help="account number on the chain")],
    edge: Annotated[str, typer.Argument(help="the home's name on the feeder")],
    token_file: Annotated[Path, typer.Option(help="file with the operator's bearer token")],
    device: Annotated[list[str] | None, typer.Option(help="flexible device NUMBER:LOWEST_W:HIGHEST_W")] = None,
    element: Annotated[str | None, typer.Option(help="public key of its secure element, 0x and 128 digits")] = None,
    http: UrlOption = DEFAULT_URL,
) -> None:
    """Let a home take part: link its name to an account."""
    devices = []
    for text in device or []:
        try:
            number, lowest, highest = (int(part) for part in text.split(":"))
        except ValueError as error:
            raise typer.BadParameter("expected NUMBER:LOWEST_W:HIGHEST_W", param_hint="--device") from error
        devices.append({"device": number, "lowest_w": lowest, "highest_w": highest})
    home: dict[str, Any] = {"account": account, "edge": edge, "devices": devices}
    _ask(http, "/api/v1/homes", token_file, home if element is None else home | {"element": element})
    print(f"account {account} is {edge}")


@app.command()
def status(http: UrlOption = DEFAULT_URL, as_json: JsonOption = False) -> None:
    """Say how a running coordinator does."""
    grid = _ask(http, "/api/v1/grid/status")
    batches = _ask(http, "/api/v1/batches?limit=5")["batches"]
    if as_json:
        print(json.dumps({"grid": grid, "batches": batches}))
        return
    print(f"feeder {grid['feeder']}: {grid['homes']} homes, demand {grid['demand_w']} W, supply {grid['supply_w']} W")
    for batch in batches:
        print(f"interval {batch['interval']} {batch['state']} {batch['digest'][:18]}… gas {batch['gas'] or '-'}")


@app.command()
def replay(
    config: ConfigOption = None, store: Annotated[str | None, typer.Option(help="the store's file")] = None
) -> None:
    """Rebuild every table from the inbox and compare; 1 with the first difference. May run beside a coordinator."""
    settings = _config(config, {"store.path": store})
    from contracts.signature import signer_of
    from coordinator.replay import first_difference
    from coordinator.replay import replay as rebuild
    from coordinator.shell.assembly import build_domain
    from coordinator.shell.deployment import LocalDeploymentError
    from coordinator.shell.operator_config import LocalConfigError, read_key
    from coordinator.store.read_store import ReadStore, StoreUnavailable

    try:
        operator_key = read_key(Path(settings.key.file))
        market = settings.market_config(build_domain(settings), operator_key)
        original = ReadStore(Path(settings.store.path), snapshot=True)
        rebuilt = rebuild(original, market, signer_of(operator_key))
        difference = first_difference(original, rebuilt.store)
    except (LocalConfigError, LocalDeploymentError) as error:
        fail(str(error), WRONG_CONFIGURATION)
    except StoreUnavailable as error:
        fail(f"{settings.store.path}: {error}", UNAVAILABLE)
    if difference is not None:
        fail(f"the replay differs: {difference}", FAILED)
    entries = original.integer("SELECT COUNT(*) FROM inbox")
    print(f"{entries} inputs rebuild every table")


@config_app.command("check")
def config_check(config: ConfigOption = None) -> None:
    """Check file and environment; every fault at once."""
    _config(config)
    print("the configuration is fine")


@config_app.command("show")
def config_show(config: ConfigOption = None) -> None:
    """Print the configuration as it counts, from file, environment and defaults. It holds no secrets."""
    from dataclasses import asdict

    print(json.dumps(asdict(_config(config)), indent=2))


@app.command()
def openapi() -> None:
    """Print the OpenAPI document of the web interface."""
    from coordinator.web.app import openapi_document

    print(json.dumps(openapi_document(), indent=2))


def main() -> None:
    """The console script."""
    app()
