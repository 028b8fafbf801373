"""What is installed is what was tested: the unit, the package, the add-on, the container, the first boot."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from edge_agent.announcement import VERSION
from edge_agent.config import agent_config_from_toml
from edge_agent.config_reader import parse_config
from edge_agent.config_update import UpdateConfig
from edge_agent.systemd_unit import UNIT_NAME, credentials_of, has_serial_lines, unit_text
from tests.edge_agent.test_config import GOOD

ROOT = Path(__file__).resolve().parents[2]
PACKAGING = ROOT / "edge_agent" / "packaging"
EXPOSURE_LIMIT = 2.5
"""systemd-analyze calls up to 4.0 "OK" and up to 2.0 "SAFE" only without a network; an agent needs one."""


def agent(*words: str) -> subprocess.CompletedProcess[str]:
    """The console script in a process of its own."""
    command = [sys.executable, "-m", "edge_agent.cli", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def run(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command of the system."""
    return subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, **environment},
    )  # fmt: skip


def need(name: str) -> str:
    """The path of a command; the test is skipped where it is not installed."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def directives(text: str) -> dict[str, list[str]]:
    """Values of a unit's directives."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, mark, value = line.partition("=")
        if mark and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def test_install_service_writes_below_the_root_what_the_dry_run_prints(tmp_path: Path) -> None:
    words = ("install-service", "--executable", "/usr/bin/edge-agent", "--root", str(tmp_path))
    printed = agent(*words, "--dry-run")
    assert printed.returncode == 0 and list(tmp_path.iterdir()) == []
    done = agent(*words)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "etc/systemd/system" / UNIT_NAME).read_text() == printed.stdout
    assert "u energy-grid" in (tmp_path / "etc/sysusers.d/energy-grid.conf").read_text()
    assert (tmp_path / "etc/energy-grid/credentials").stat().st_mode & 0o777 == 0o700
    assert "systemctl enable --now energy-grid-agent.service" in done.stdout


def test_the_unit_asks_for_what_the_configuration_needs_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "etc/energy-grid").mkdir(parents=True)
    config = tmp_path / "etc/energy-grid/agent.toml"
    config.write_text(GOOD)
    words = ("install-service", "--executable", "/usr/bin/edge-agent", "--root", str(tmp_path), "--dry-run")
    plain = directives(agent(*words).stdout)
    assert "LoadCredential" not in plain and "SupplementaryGroups" not in plain and plain["PrivateDevices"] == ["yes"]
    text = GOOD.replace('file = "key"', 'credential = "key"\npassword_credential = "password"')
    text = text.replace('host = "127.0.0.1"', 'link = "rtu"\ndevice = "/dev/ttyUSB0"')
    config.write_text(text)
    asked = directives(agent(*words).stdout)
    folder = "/etc/energy-grid/credentials"
    assert asked["LoadCredential"] == [f"key:{folder}/key", f"password:{folder}/password"]
    assert asked["SupplementaryGroups"] == ["dialout"] and "char-ttyUSB rw" in asked["DeviceAllow"]
    assert asked["ExecStart"] == ["/usr/bin/edge-agent run --config /etc/energy-grid/agent.toml"]
    assert "LoadCredentialEncrypted" in directives(agent(*words, "--encrypted").stdout)
    loaded = agent_config_from_toml(config)
    assert credentials_of(loaded) == ("key", "password") and has_serial_lines(loaded)


def test_the_unit_is_hardened_watched_and_started_again() -> None:
    found = directives(unit_text("/usr/bin/edge-agent", "/etc/energy-grid/agent.toml", ("key",), serial=True))
    wanted = {
        "Type": "notify", "Restart": "always", "WatchdogSec": "90", "ProtectSystem": "strict", "ProtectHome": "yes",
        "NoNewPrivileges": "yes", "CapabilityBoundingSet": "", "MemoryDenyWriteExecute": "yes", "MemoryMax": "128M",
        "StateDirectory": "energy-grid", "User": "energy-grid", "RestartPreventExitStatus": "78",
    }  # fmt: skip
    assert {name: found[name] for name in wanted} == {name: [value] for name, value in wanted.items()}
    # Asking whether the clock is synchronised must stay possible, else nothing is ever signed.
    assert "adjtimex" in found["SystemCallFilter"][-1] and "ProtectClock" not in found


@pytest.mark.parametrize("serial", [False, True])
def test_systemd_finds_no_fault_in_the_unit_and_little_exposure(tmp_path: Path, serial: bool) -> None:
    analyse = need("systemd-analyze")
    executable = tmp_path / "edge-agent"
    executable.write_text("#!/bin/sh\n")
    executable.chmod(0o755)
    unit = tmp_path / UNIT_NAME
    unit.write_text(unit_text(str(executable), "/etc/energy-grid/agent.toml", ("key",), serial))
    verified = run(analyse, "verify", "--man=no", unit)
    complaints = [line for line in verified.stderr.splitlines() if UNIT_NAME in line]
    assert verified.returncode == 0 and complaints == []
    security = run(analyse, "security", "--offline=true", "--no-pager", unit)
    level = re.search(r"Overall exposure level for \S+: ([0-9.]+)", security.stdout)
    assert level is not None and float(level[1]) <= EXPOSURE_LIMIT, security.stdout


def test_an_agent_in_slots_is_started_from_them_and_judged_by_the_trusted_one() -> None:
    update = UpdateConfig("grid.example", "agent", (), 1, Path("/opt/slots"), None, 60)
    found = directives(unit_text("/usr/bin/edge-agent", "/etc/agent.toml", (), False, update=update))
    assert found["ExecStart"] == ["/opt/slots/current/edge-agent run --config /etc/agent.toml"]
    assert found["ExecStartPre"] == ["-+/opt/slots/trusted/edge-agent update boot --config /etc/agent.toml"]
    assert found["ExecStartPost"] == ["-+/opt/slots/trusted/edge-agent update confirm --config /etc/agent.toml"]
    assert int(found["TimeoutStartSec"][0]) > 60


def test_install_service_refuses_what_systemd_would_misread(tmp_path: Path) -> None:
    assert agent("install-service", "--executable", "edge-agent", "--dry-run").returncode == 78
    assert agent("install-service", "--executable", "/a b/edge-agent", "--dry-run").returncode == 78
    (tmp_path / "etc").write_text("in the way")
    refused = agent("install-service", "--executable", "/usr/bin/edge-agent", "--root", str(tmp_path))
    assert refused.returncode == 1 and "cannot be written" in refused.stderr


def example(folder: Path) -> dict[str, Any]:
    """The example configuration."""
    return tomllib.loads((folder / "agent.example.toml").read_text(encoding="utf-8"))


def test_the_example_configuration_is_accepted_as_it_is() -> None:
    config = parse_config(example(PACKAGING), Path("/etc/energy-grid"))
    assert config.key.credential == "key" and config.store == Path("/var/lib/energy-grid/outbox.db")


def test_the_first_boot_of_a_card_is_valid_and_carries_a_configuration_that_is_accepted() -> None:
    path = PACKAGING / "cloud_init" / "user-data"
    text = path.read_text(encoding="utf-8")
    assert text.startswith("#cloud-config\n")
    files = {row["path"]: row["content"] for row in yaml.safe_load(text)["write_files"]}
    config = parse_config(tomllib.loads(files["/etc/energy-grid/agent.toml"]), Path("/etc/energy-grid"))
    assert config.status.host == "0.0.0.0" and config.key.credential == "key"
    checked = run(need("cloud-init"), "schema", "--config-file", path)
    assert checked.returncode == 0, checked.stdout + checked.stderr


# Home Assistant's documentation, "Add-on configuration": the options used here and what they may be.
ADD_ON_REQUIRED = {"name", "version", "slug", "description", "arch"}
ADD_ON_OPTIONS = ADD_ON_REQUIRED | {
    "startup", "boot", "init", "uart", "services", "map", "ingress", "ingress_port", "panel_icon", "panel_title",
    "watchdog", "timeout", "options", "schema",
}  # fmt: skip


def test_the_add_on_says_what_home_assistant_asks_for() -> None:
    document = yaml.safe_load((PACKAGING / "home_assistant" / "config.yaml").read_text(encoding="utf-8"))
    assert ADD_ON_REQUIRED <= set(document) <= ADD_ON_OPTIONS
    assert document["version"] == VERSION and re.fullmatch(r"[-_.A-Za-z0-9]+", document["slug"])
    assert set(document["arch"]) == {"aarch64", "amd64"} and document["startup"] in ("services", "application")
    assert set(document["options"]) == set(document["schema"])
    assert document["watchdog"] == f"http://[HOST]:[PORT:{document['ingress_port']}]/alive"
    assert document["map"] == ["addon_config:rw"] and document["init"] is False


def test_the_add_on_makes_its_configuration_from_the_example(tmp_path: Path) -> None:
    """The script itself, with a stand-in for the console script that notes how it is called."""
    text = (PACKAGING / "home_assistant" / "run.sh").read_text(encoding="utf-8")
    for folder in ("config", "data"):
        (tmp_path / folder).mkdir()
    (tmp_path / "data/options.json").write_text('{"verbose": true}')
    shutil.copy(PACKAGING / "agent.example.toml", tmp_path / "agent.example.toml")
    text = re.sub(r"(?<![\w.])/(config|data|agent\.example)", lambda found: f"{tmp_path}{found[0]}", text)
    (tmp_path / "run.sh").write_text(text)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/edge-agent").write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/calls\n')
    (tmp_path / "bin/edge-agent").chmod(0o755)
    first = run("sh", tmp_path / "run.sh", PATH=f"{tmp_path}/bin:{os.environ['PATH']}")
    assert first.returncode == 0 and "fill it in" in first.stdout
    calls = (tmp_path / "calls").read_text().splitlines()
    assert len(calls) == 1 and calls[0].startswith("key new"), "nothing is signed for the account of an example"
    done = run("sh", tmp_path / "run.sh", PATH=f"{tmp_path}/bin:{os.environ['PATH']}")
    assert done.returncode == 0, done.stderr
    made = tomllib.loads((tmp_path / "config/agent.toml").read_text())
    config = parse_config(made, tmp_path)
    assert config.clock.trusted and config.status.host == "0.0.0.0" and config.status.proxy == "172.30.32.2"
    assert config.key_file == tmp_path / "data/key" and str(config.store).startswith(str(tmp_path / "data"))
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls[0].startswith("key new") and calls[-1].endswith("--verbose")


def test_the_containers_are_slim_unprivileged_and_watched() -> None:
    text = (PACKAGING / "docker" / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    steps = [line.split(" ", 1) for line in text.splitlines() if line and not line.startswith("#")]
    words = [step[0] for step in steps]
    assert words.count("FROM") == 2 and all("-slim" in rest for word, rest in steps if word == "FROM")
    user = next(rest for word, rest in steps if word == "USER")
    assert user.isdecimal() and int(user) > 0 and words.index("USER") < words.index("ENTRYPOINT")
    health = next(rest for word, rest in steps if word == "HEALTHCHECK")
    assert "8099/alive" in health, "a silent meter is no reason to start the agent again"


def test_every_script_of_the_packages_is_valid_shell() -> None:
    scripts = [PACKAGING / "home_assistant/run.sh", PACKAGING / "docker/try.sh", *(PACKAGING / "debian").iterdir()]
    assert len(scripts) == 5
    for script in scripts:
        shell = "bash" if "bash" in script.read_text(encoding="utf-8").split("\n", 1)[0] else "sh"
        assert run(shell, "-n", script).returncode == 0, script


def left_by_dockerignore() -> list[Path]:
    """Files of the repository a container build sees: what `!` lets in again after `*`, less what follows."""
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert rules[0] == "*"
    let_in = [ROOT / rule[1:] for rule in rules if rule.startswith("!")]
    assert all(path.exists() for path in let_in)
    kept_out = [rule for rule in rules[1:] if not rule.startswith("!")]
    names, folders = {rule[3:] for rule in kept_out if rule.startswith("**/")}, [ROOT / rule for rule in kept_out]
    found: list[Path] = []
    for path in let_in:
        for file in [path] if path.is_file() else path.rglob("*"):
            inside = names.isdisjoint(file.relative_to(ROOT).parts) and not {*folders} & {file, *file.parents}
            if inside and file.is_file():
                found.append(file)
    return found


@pytest.mark.slow
def test_a_container_is_built_of_the_project_alone_and_gets_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    """No history, environment, node_modules or stray key goes into the image; nothing that is needed stays out."""
    context = tmp_path / "context"
    files = left_by_dockerignore()
    assert sum(file.stat().st_size for file in files) < 20 << 20
    assert {file.relative_to(ROOT).parts[0] for file in files if len(file.relative_to(ROOT).parts) == 1} == {
        "pyproject.toml", "README.md", "LICENSE", "constraints.txt"
    }  # fmt: skip
    for file in files:
        target = context / file.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    made = run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, context)
    assert made.returncode == 0, made.stderr

    def names(path: Path) -> set[str]:
        with zipfile.ZipFile(path) as archive:
            return {name for name in archive.namelist() if not name.startswith("contracts/solidity/")}

    assert names(next(tmp_path.glob("*.whl"))) == names(wheel)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The distribution as a wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    made = run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT)
    assert made.returncode == 0, made.stderr
    return next(folder.glob("energy_grid-*.whl"))


@pytest.mark.slow
@pytest.mark.parametrize("platform_tag", ["manylinux2014_aarch64", "manylinux_2_28_aarch64"])
def test_a_raspberry_pi_needs_no_compiler(wheel: Path, tmp_path: Path, platform_tag: str) -> None:
    """Every dependency of the extra `agent` has a ready-made wheel for a 64-bit Pi."""
    done = run(
        sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:", "--platform", platform_tag,
        "--platform", "manylinux2014_aarch64", "--python-version", "311", "--implementation", "cp",
        "--dest", tmp_path, f"{wheel}[agent]",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    names = {path.name.split("-")[0].lower() for path in tmp_path.iterdir()}
    assert {"coincurve", "safe_pysha3", "pymodbus", "aiomqtt", "typer"} <= names
    assert {path.suffix for path in tmp_path.iterdir()} == {".whl"}


@pytest.mark.slow
def test_the_debian_package_is_built_installed_and_runs(wheel: Path, tmp_path: Path) -> None:
    need("dpkg-deb")
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    python = f"3.{sys.version_info[1]}"
    script = PACKAGING / "debian" / "build.sh"
    built = run("sh", script, wheel, machine, python, tmp_path / "out", PYTHON_COMMAND=sys.executable)
    assert built.returncode == 0, built.stderr
    package = tmp_path / "out" / f"energy-grid-agent_{VERSION}_{machine}.deb"
    listed = run("dpkg-deb", "--contents", package).stdout
    for name in ("usr/bin/edge-agent", f"usr/lib/systemd/system/{UNIT_NAME}", "opt/energy-grid/lib/edge_agent/cli.py"):
        assert f"./{name}\n" in listed
    assert "__pycache__" not in listed and "/pip/" not in listed and " root/root " in listed
    root = tmp_path / "root"
    (root / "var/lib/dpkg").mkdir(parents=True)
    (root / "var/lib/dpkg/status").touch()
    options = ("--root", root, "--force-script-chrootless", "--force-depends", "--force-not-root", "--log=/dev/null")
    installed = run("dpkg", *options, "--install", package)
    assert installed.returncode == 0, installed.stderr
    assert (root / "etc/energy-grid/credentials").stat().st_mode & 0o777 == 0o700
    launcher = (root / "usr/bin/edge-agent").read_text().replace("=/opt", f"={root}/opt")
    launcher = launcher.replace(f"/usr/bin/python{python}", sys.executable)
    (tmp_path / "edge-agent").write_text(launcher)
    helped = run("sh", tmp_path / "edge-agent", "--help")
    assert helped.returncode == 0 and "install-service" in helped.stdout
    made = run("sh", tmp_path / "edge-agent", "key", "new", tmp_path / "key")
    assert re.fullmatch(r"0x[0-9a-f]{40}\n", made.stdout)
    removed = run("dpkg", *options, "--remove", "energy-grid-agent")
    assert removed.returncode == 0 and not (root / "opt/energy-grid/lib/edge_agent").exists()
