"""The command line: exit codes, configuration from file, environment and flags, and every fault at once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from contracts.signature import address_of
from coordinator.cli import app
from coordinator.shell.operator_config import (
    LocalConfigError,
    OperatorConfig,
    load_config,
    read_key,
    read_token,
    write_key,
)
from simulators.evm_chain import EvmChain
from simulators.live.json_rpc import JsonRpcServer

RUN = CliRunner()


def test_every_fault_of_a_configuration_is_named_at_once(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(
        '[market]\nfeeder = "Two Words"\ntariff_import = "dear"\nsurprise = 1\n'
        "[nonsense]\nx = 1\n[broker]\nport = 70000\n"
    )
    with pytest.raises(LocalConfigError) as wrong:
        load_config(path, {"GRID_WEB__PORT": "many", "GRID_HOME__X": "1"}, {})
    text = "\n".join(wrong.value.faults)
    for word in ("market.feeder", "tariff_import", "surprise", "[nonsense]", "broker.port", "web.port", "home.x"):
        assert word in text
    assert RUN.invoke(app, ["config", "check", "-c", str(path)]).exit_code == 78


def test_flags_outrank_the_environment_which_outranks_the_file(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("[web]\nport = 1\nburst = 7\nopen_reads = false\n[broker]\nport = 2\n")
    environment = {"GRID_WEB__PORT": "3", "GRID_WEB__OPEN_READS": "true", "PATH": "/bin"}
    config = load_config(path, environment, {"web.port": 4, "web.host": None})
    assert (config.web.port, config.web.burst, config.broker.port, config.web.open_reads) == (4, 7, 2, True)
    assert load_config(None, {}, {}) == OperatorConfig()


@given(st.text(max_size=200))
def test_a_file_of_anything_is_a_configuration_or_a_named_fault(text: str) -> None:
    import tempfile

    with tempfile.NamedTemporaryFile("w", suffix=".toml", encoding="utf-8", errors="ignore") as file:
        file.write(text)
        file.flush()
        try:
            load_config(Path(file.name), {}, {})
        except LocalConfigError as error:
            assert error.faults


def test_keys_and_tokens_come_from_files_that_are_fit_for_them(tmp_path: Path) -> None:
    made = RUN.invoke(app, ["key", str(tmp_path / "k")])
    assert made.exit_code == 0
    assert made.stdout.strip() == "0x" + address_of(read_key(tmp_path / "k")).hex()
    assert RUN.invoke(app, ["key", str(tmp_path / "k")]).exit_code == 1
    (tmp_path / "k").chmod(0o644)
    with pytest.raises(LocalConfigError, match="chmod 600"):
        read_key(tmp_path / "k")
    write_key(tmp_path / "zero", bytes(32))
    for path in (tmp_path / "zero", tmp_path / "none"):
        with pytest.raises(LocalConfigError):
            read_key(path)
    (tmp_path / "t").write_text("short\n")
    with pytest.raises(LocalConfigError, match="16"):
        read_token(str(tmp_path / "t"))
    assert read_token("") is None


def test_commands_end_with_the_code_that_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert RUN.invoke(app, ["status", "--http", "http://127.0.0.1:9"]).exit_code == 69
    assert RUN.invoke(app, ["run", "--http", "nonsense"]).exit_code == 2
    assert RUN.invoke(app, ["run", "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0"]).exit_code == 78
    assert RUN.invoke(app, ["run", "--rpc", "ftp://x"]).exit_code == 78
    assert RUN.invoke(app, ["replay"]).exit_code == 78
    RUN.invoke(app, ["key", "operator.key"])
    assert RUN.invoke(app, ["replay"]).exit_code == 69
    assert RUN.invoke(app, ["run", "--rpc", "http://127.0.0.1:9"]).exit_code == 78
    assert RUN.invoke(app, ["deploy", "--rpc", "http://127.0.0.1:9"]).exit_code == 69
    nowhere = ["deploy", "--rpc", "http://127.0.0.1:9"]
    assert RUN.invoke(app, [*nowhere, "--out", "d.json", "--profile", "street"]).exit_code == 78
    assert RUN.invoke(app, [*nowhere, "--check", "none"]).exit_code == 78
    assert RUN.invoke(app, ["oracle", "show", "--rpc", "http://127.0.0.1:9"]).exit_code == 69
    assert RUN.invoke(app, ["enrol", "1", "home-1", "--token-file", "none"]).exit_code == 78
    assert RUN.invoke(app, ["nonsense"]).exit_code == 2


def test_a_street_is_deployed_from_the_command_line_and_again_without_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    server = JsonRpcServer(EvmChain(lambda: 1_900_000_000))
    server.start()
    try:
        command = ["deploy", "--rpc", server.url, "--homes", "2", "--json"]
        first = RUN.invoke(app, command)
        again = RUN.invoke(app, command)
        assert first.exit_code == again.exit_code == 0
        assert json.loads(first.stdout) == json.loads(again.stdout)
        assert [home["account"] for home in json.loads(first.stdout)["street"]] == [1, 2]
        for name in ("operator.key", "keys/home-1.key", "keys/home-2.key"):
            assert (tmp_path / name).stat().st_mode & 0o077 == 0
        check = ["deploy", "--rpc", server.url, "--check", "deployments/31337.json"]
        held = RUN.invoke(app, check)
        assert held.exit_code == 0 and held.stdout.count("ok: ") > 80 and "NOT SO" not in held.stdout
        note = Path("deployments/31337.json")
        note.write_text(note.read_text().replace('"bond": 1000', '"bond": 999'))
        assert RUN.invoke(app, check).exit_code == 1
        assert RUN.invoke(app, [*command, "--homes", "3"]).exit_code == 78
    finally:
        server.stop()


def test_the_interface_and_the_configuration_are_printed_as_json() -> None:
    assert json.loads(RUN.invoke(app, ["openapi"]).stdout)["openapi"].startswith("3.1")
    assert json.loads(RUN.invoke(app, ["config", "show"]).stdout)["market"]["feeder"] == "street"
    assert RUN.invoke(app, ["config", "check"]).exit_code == 0


def test_the_command_line_starts_without_the_heavy_libraries() -> None:
    heavy = ("web3", "eth_account", "requests", "fastapi", "amqtt", "numpy")
    loaded = f"import coordinator.cli, sys; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", loaded], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
