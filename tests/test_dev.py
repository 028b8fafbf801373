"""The entry script installs once, recovers from an interruption, and the test run forbids silent skips in CI."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.bench.figure import Figure, measured, number_text, print_json, print_table
from tests.house_rules import ROOT


@pytest.fixture
def dev(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module, over a project of its own whose installations are only counted."""
    loader = importlib.machinery.SourceFileLoader("dev_script", str(ROOT / "dev"))
    spec = importlib.util.spec_from_loader("dev_script", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
    loader.exec_module(module)
    sys.dont_write_bytecode = before
    for name in ("dev", "pyproject.toml", "uv.lock", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(module, "STAMP", tmp_path / ".venv" / ".installed")
    monkeypatch.setattr(module, "UNFINISHED", tmp_path / ".venv" / ".installing")
    monkeypatch.setattr(module, "PYTHON", tmp_path / ".venv" / "bin" / "python")
    module.calls = []  # type: ignore[attr-defined]

    def run(command: list[str], **_: str) -> bool:
        module.calls.append(command)
        if "venv" in command:
            (tmp_path / ".venv" / "bin").mkdir(parents=True)
            (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
        return not (tmp_path / "no-network").exists() or "venv" in command or "import pip" in command

    monkeypatch.setattr(module, "run", run)
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    return module


def test_it_installs_once_and_again_only_when_the_dependencies_change(dev: ModuleType, tmp_path: Path) -> None:
    dev.environment_ready()
    first = len(dev.calls)
    assert "--constraint" in dev.calls[-1]
    dev.environment_ready()
    project = tmp_path / "pyproject.toml"
    project.write_text(project.read_text(encoding="utf-8") + "\n[tool.unrelated]\nx = 1\n", encoding="utf-8")
    dev.environment_ready()
    assert len(dev.calls) == first
    project.write_text(project.read_text(encoding="utf-8").replace("hypothesis>=6.120", "hypothesis>=6.121"))
    dev.environment_ready()
    assert len(dev.calls) > first
    again = len(dev.calls)
    (tmp_path / "constraints.txt").write_text("hypothesis==6.121.0\n", encoding="utf-8")
    dev.environment_ready()
    assert len(dev.calls) > again


def test_an_interrupted_installation_starts_over_with_an_empty_folder(dev: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "no-network").touch()
    with pytest.raises(SystemExit) as ended:
        dev.environment_ready()
    assert ended.value.code == 69
    half = tmp_path / ".venv" / "half-a-package"
    half.touch()
    (tmp_path / "no-network").unlink()
    dev.environment_ready()
    assert not half.exists()
    assert dev.is_installed(dev.wanted_stamp())


def test_uv_installs_the_locked_versions_where_it_is_on_the_path(
    dev: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dev.shutil, "which", lambda name: "/usr/bin/uv" if name == "uv" else None)
    dev.environment_ready()
    assert dev.calls[-1] == ["/usr/bin/uv", "sync", "--frozen", "--extra", "test"]


def test_an_old_python_is_told_what_is_missing(
    dev: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dev.sys, "version_info", (3, 9, 2))
    with pytest.raises(SystemExit) as ended:
        dev.need_new_python()
    assert ended.value.code == 69
    assert "Python 3.11 or newer is needed, this is 3.9.2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "stream", "text"),
    [
        ([], 2, "stdout", "./dev demo"),
        (["--help"], 0, "stdout", "./dev bench"),
        (["biuld"], 2, "stderr", "no command 'biuld'"),
    ],
)
def test_help_and_mistakes_need_no_environment(arguments: list[str], code: int, stream: str, text: str) -> None:
    done = subprocess.run([sys.executable, "-B", str(ROOT / "dev"), *arguments], capture_output=True, text=True)
    assert done.returncode == code
    assert text in getattr(done, stream)


def test_the_locked_versions_name_public_places_only() -> None:
    places = {
        line.split("/")[2] for line in (ROOT / "uv.lock").read_text(encoding="utf-8").splitlines() if "://" in line
    }
    assert places == {"pypi.org", "files.pythonhosted.org"}
    pins = [line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if line[:1] != "#"]
    assert pins
    assert [pin for pin in pins if "==" not in pin or "@" in pin or "/" in pin] == []


CASES = {
    "test_mark.py": "import pytest\n@pytest.mark.skip(reason='no broker here')\ndef test_x(): ...\n",
    "test_call.py": "import pytest\ndef test_x(): pytest.skip('no browser here')\n",
    "test_fixture.py": "import pytest\n@pytest.fixture\ndef f(): pytest.skip('no node here')\ndef test_x(f): ...\n",
    "test_module.py": "import pytest\npytest.skip('no chain here', allow_module_level=True)\n",
    "test_xfail.py": "import pytest\n@pytest.mark.xfail(strict=True)\ndef test_x(): assert False\n",
    "test_budget.py": "from hypothesis import settings\ndef test_x(): print('budget', settings().max_examples)\n",
}


def run_cases(folder: Path, **environment: str) -> tuple[int, str]:
    """Exit code and output of pytest over `CASES` with the project's conftest."""
    shutil.copy(ROOT / "tests" / "conftest.py", folder / "conftest.py")
    for name, text in CASES.items():
        (folder / name).write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-rAs", "-p", "no:cacheprovider", "-p", "no:xdist"]
    command += ["--continue-on-collection-errors", str(folder)]
    foreign = ("PYTEST", "FORBID", "NIGHTLY")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=inherited | environment)
    return done.returncode, done.stdout


def test_a_desk_run_skips_with_its_reason_and_a_modest_budget(tmp_path: Path) -> None:
    code, output = run_cases(tmp_path)
    assert code == 0
    assert "1 passed, 4 skipped, 1 xfailed" in output
    assert "budget 50" in output


def test_where_skips_are_forbidden_each_kind_of_skip_fails_and_nothing_else(tmp_path: Path) -> None:
    code, output = run_cases(tmp_path, FORBID_SKIPS="1", NIGHTLY="1")
    assert code == 1
    assert "1 failed, 1 passed, 1 xfailed, 3 errors" in output
    for reason in ("no broker here", "no browser here", "no node here", "no chain here"):
        assert f"skipped where no skip is allowed: {reason}" in output.replace("Skipped: ", "")
    assert "budget 2000" in output


def test_a_figure_is_judged_by_its_goal_and_its_reference() -> None:
    fast = measured("clear a million orders", 0.8, "s", at_most=1, reference=("sorting them", 0.2))
    assert (fast.goal, fast.met, fast.ratio) == ("<= 1", True, 4.0)
    assert measured("orders", 5, "1/s", at_least=6).met is False
    assert measured("size", 5, "B") == Figure("size", 5, "B")
    with pytest.raises(ValueError, match="one goal"):
        measured("x", 1, "s", at_most=1, at_least=1)


def test_figures_are_printed_as_a_table_and_as_objects() -> None:
    figures = [measured("a", 1_234_567.8, "B", at_most=1), measured("b", 0.012345, "s", reference=("c", 0.0))]
    table, lines = io.StringIO(), io.StringIO()
    assert print_table(figures, table) is False
    assert print_json(figures, lines) is False
    assert [json.loads(line)["figure"] for line in lines.getvalue().splitlines()] == ["a", "b"]
    rows = table.getvalue().splitlines()
    assert len({len(row) for row in rows}) == 1
    assert "1,234,568" in rows[2]
    assert " NO " in rows[2]
    assert number_text(0.012347) == "0.01235"
    assert print_table([], io.StringIO()) is True
