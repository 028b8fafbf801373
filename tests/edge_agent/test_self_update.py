"""The agent replaces itself: packed by makers, judged, tried after a restart, confirmed or rolled back by itself."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edge_agent.cli import app
from edge_agent.config import ConfigError, agent_config_from_toml
from edge_agent.config_update import UpdateConfig
from edge_agent.shell.bundle_files import LocalBundleError, pack_image, unpack_image
from edge_agent.shell.self_update import RemoteUpdateError, SelfUpdate, SlotFiles
from firmware_bridge.manifest import Manifest, Payload, class_id_of, pack_bundle, sign_manifest, vendor_id_of
from firmware_bridge.node_signature import compressed, node_signer_of, public_key_of
from firmware_bridge.update import TRIAL_BOOTS

NOW_S = 1_800_000_000
MAKERS = tuple(bytes(31) + bytes([0x60 + place]) for place in range(3))
VENDOR, MODEL = "grid.example", "agent"
RUN = CliRunner()


def wheel_of(folder: Path, body: str, name: str = "edge_agent-1-py3-none-any.whl") -> Path:
    """A wheel whose `edge_agent.cli.main` runs ``body``."""
    path = folder / name
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("edge_agent/__init__.py", "")
        wheel.writestr("edge_agent/cli.py", f"import sys\ndef main():\n    {body}\n")
        wheel.writestr("edge_agent-1.data/purelib/extra_part.py", "WORD = 'extra'\n")
        wheel.writestr("edge_agent-1.data/scripts/edge-agent", "#!python\n")
    return path


def bundle_of(folder: Path, body: str, sequence: int, keys: tuple[bytes, ...] = MAKERS[:2], **parts: object) -> Path:
    """A signed bundle of one wheel."""
    payload, image = pack_image([wheel_of(folder, body)])
    vendor_id = vendor_id_of(VENDOR)
    fixed: dict[str, object] = {
        "vendor_id": vendor_id, "class_id": class_id_of(vendor_id, MODEL), "sequence": sequence,
        "expires_at_s": NOW_S + 100, "size": len(image), "digest": sha256(image).digest(), "version": f"1.{sequence}",
        "payload": payload,
    }  # fmt: skip
    manifest = Manifest(**(fixed | parts))  # type: ignore[arg-type]
    envelope = sign_manifest(manifest, {public_key_of(key): node_signer_of(key) for key in keys})
    path = folder / f"bundle{sequence}"
    path.write_bytes(pack_bundle(envelope, image))
    return path


def config_of(folder: Path) -> UpdateConfig:
    return UpdateConfig(VENDOR, MODEL, tuple(public_key_of(key) for key in MAKERS), 2, folder / "slots", wait_s=20)


def slots_of(folder: Path) -> SelfUpdate:
    return SelfUpdate(config_of(folder), lambda: NOW_S)


def runs(folder: Path, link: str = "current") -> str:
    """What the agent behind a symlink prints."""
    done = subprocess.run(
        [str(folder / "slots" / link / "edge-agent")], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    return done.stdout.strip()


SAYS = "print({!r}) if sys.argv[1:] == [] else sys.exit({})"
GOOD = SAYS.format("good", 0)
BETTER = SAYS.format("better", 0)
SICK = SAYS.format("sick", 1)


def confirmed(folder: Path, body: str = GOOD, sequence: int = 1) -> SelfUpdate:
    """A confirmed version, from nothing."""
    slots = slots_of(folder)
    slots.apply(bundle_of(folder, body, sequence))
    slots.boot()
    slots.confirm(folder / "agent.toml")
    return slots


def test_a_first_and_a_second_version_are_tried_and_confirmed_in_turn(tmp_path: Path) -> None:
    slots = confirmed(tmp_path)
    assert (runs(tmp_path), runs(tmp_path, "trusted")) == ("good", "good")
    slots.apply(bundle_of(tmp_path, BETTER, 2))
    assert slots.boot() == "a" and runs(tmp_path) == "better" and runs(tmp_path, "trusted") == "good"
    assert slots.confirm(tmp_path / "agent.toml") == "a"
    assert (runs(tmp_path), runs(tmp_path, "trusted")) == ("better", "better")
    lines = slots.status()
    assert lines[0] == "stage IDLE, active slot a, sequence 2" and "slot b: 1.1, sequence 1, whole" in lines
    with pytest.raises(RemoteUpdateError, match="OLD_SEQUENCE"):
        slots.apply(tmp_path / "bundle2")


def test_a_launched_agent_finds_its_own_modules_and_passes_them_on(tmp_path: Path) -> None:
    confirmed(
        tmp_path, "import extra_part, os; print(extra_part.WORD, os.environ['PYTHONPATH']) if not sys.argv[1:] else 0"
    )
    assert runs(tmp_path) == f"extra {(tmp_path / 'slots' / 'b' / 'lib').resolve()}"


def test_a_version_that_is_sick_is_rolled_back_by_its_own_doctor(tmp_path: Path) -> None:
    slots = confirmed(tmp_path)
    slots.apply(bundle_of(tmp_path, SICK, 2))
    slots.boot()
    with pytest.raises(RemoteUpdateError, match="rolled back: doctor"):
        slots.confirm(tmp_path / "agent.toml")
    assert runs(tmp_path) == "good" and slots.boot() == "b"


def test_a_version_that_never_confirms_is_left_after_three_starts(tmp_path: Path) -> None:
    slots = confirmed(tmp_path)
    slots.apply(bundle_of(tmp_path, BETTER, 2))
    starts = [slots.boot() for _ in range(TRIAL_BOOTS + 2)]
    assert starts == ["a"] * TRIAL_BOOTS + ["b", "b"]
    assert runs(tmp_path) == "good"


def test_nothing_is_confirmed_before_it_was_started(tmp_path: Path) -> None:
    slots = confirmed(tmp_path)
    with pytest.raises(RemoteUpdateError, match="nothing is on trial"):
        slots.confirm(tmp_path / "agent.toml")
    slots.apply(bundle_of(tmp_path, BETTER, 2))
    with pytest.raises(RemoteUpdateError, match="not started yet"):
        slots.confirm(tmp_path / "agent.toml")
    with pytest.raises(RemoteUpdateError, match="WRONG_STAGE"):
        slots.apply(bundle_of(tmp_path, BETTER, 3))
    assert slots.rollback() == "b" and runs(tmp_path) == "good"


def test_a_ready_file_counts_only_when_it_was_renewed_after_the_start(tmp_path: Path) -> None:
    confirmed(tmp_path)
    ready = tmp_path / "ready"
    ready.write_text("old")
    os.utime(ready, (1, 1))
    slots = SelfUpdate(replace(config_of(tmp_path), ready_file=ready, wait_s=1), lambda: NOW_S)
    slots.apply(bundle_of(tmp_path, SICK, 2))
    slots.boot()
    with pytest.raises(RemoteUpdateError, match="not renewed"):
        slots.confirm(tmp_path / "agent.toml", lambda _: None)
    slots.apply(bundle_of(tmp_path, SICK, 2))
    slots.boot()
    assert slots.confirm(tmp_path / "agent.toml", lambda _: ready.write_text("new") and None) == "a"


@pytest.mark.parametrize(
    ("text", "change"),
    [
        ("TOO_FEW_SIGNERS", lambda folder: bundle_of(folder, GOOD, 2, MAKERS[:1])),
        ("UNKNOWN_SIGNER", lambda folder: bundle_of(folder, GOOD, 2, (MAKERS[0], bytes(31) + b"\x09"))),
        ("WRONG_VENDOR", lambda folder: bundle_of(folder, GOOD, 2, vendor_id=bytes(16))),
        ("WRONG_CLASS", lambda folder: bundle_of(folder, GOOD, 2, class_id=bytes(16))),
        ("WRONG_CLASS", lambda folder: bundle_of(folder, GOOD, 2, payload=Payload.FIRMWARE)),
        ("EXPIRED", lambda folder: bundle_of(folder, GOOD, 2, expires_at_s=NOW_S)),
        ("OLD_SEQUENCE", lambda folder: bundle_of(folder, GOOD, 1)),
        ("OVERSIZED", lambda folder: bundle_of(folder, GOOD, 2, size=2**30)),
        ("WRONG_DIGEST", lambda folder: bundle_of(folder, GOOD, 2, digest=bytes(32))),
        ("WRONG_SIZE", lambda folder: longer(bundle_of(folder, GOOD, 2))),
        ("MALFORMED", lambda folder: emptied(bundle_of(folder, GOOD, 2))),
        ("No such file", lambda folder: folder / "nowhere"),
    ],
)
def test_a_bundle_that_is_not_for_us_changes_nothing(tmp_path: Path, text: str, change: Callable[[Path], Path]) -> None:
    slots = confirmed(tmp_path)
    with pytest.raises(RemoteUpdateError, match=text):
        slots.apply(change(tmp_path))
    assert runs(tmp_path) == "good" and slots.boot() == "b"


def longer(path: Path) -> Path:
    path.write_bytes(path.read_bytes() + b"x")
    return path


def emptied(path: Path) -> Path:
    path.write_bytes(b"")
    return path


def test_without_a_trusted_clock_nothing_is_unexpired(tmp_path: Path) -> None:
    slots = SelfUpdate(config_of(tmp_path), lambda: None)
    with pytest.raises(RemoteUpdateError, match="CLOCK_UNKNOWN"):
        slots.check(bundle_of(tmp_path, GOOD, 1))


class PowerCutError(Exception):
    """The power went."""


def test_power_may_fail_between_any_two_writes_and_a_whole_version_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes, cut_at = 0, -1

    def cut(method: str) -> None:
        original = getattr(SlotFiles, method)

        def cutting(self: SlotFiles, *arguments: object) -> None:
            nonlocal writes
            writes += 1
            if writes == cut_at:
                raise PowerCutError
            original(self, *arguments)

        monkeypatch.setattr(SlotFiles, method, cutting)

    for method in ("write_record", "erase", "write"):
        cut(method)
    start = tmp_path / "start"
    start.mkdir()
    confirmed(start)
    bundle = bundle_of(start, BETTER, 2)
    reached = False
    for place in range(1, 20):
        folder = tmp_path / f"cut{place}"
        shutil.copytree(start, folder, symlinks=True)
        writes, cut_at = 0, place
        try:
            slots_of(folder).apply(bundle)
            reached = True
        except PowerCutError:
            pass
        cut_at = -1
        assert slots_of(folder).boot() == ("a" if reached else "b")
        assert runs(folder) == ("better" if reached else "good") and runs(folder, "trusted") == "good"
        if reached:
            break
        slots_of(folder).apply(bundle)
        assert slots_of(folder).boot() == "a" and runs(folder) == "better"
    assert reached and place > 6


def tar_of(*members: tuple[str, bytes]) -> io.BytesIO:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, body in members:
            member = tarfile.TarInfo(name)
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))
    packed.seek(0)
    return packed


def zip_of(name: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as wheel:
        wheel.writestr(name, "x")
    return packed.getvalue()


ANY = "a-1-py3-none-any.whl"


@pytest.mark.parametrize(
    "image",
    [
        tar_of(("../evil.whl", zip_of("x"))), tar_of(("plain.txt", b"x")), tar_of((ANY, b"no zip")),
        tar_of((ANY, zip_of("../../evil"))), tar_of((ANY, zip_of("/etc/evil"))), io.BytesIO(b"no tar" * 200),
    ],
)  # fmt: skip
def test_an_image_that_reaches_out_of_its_folder_is_refused(tmp_path: Path, image: io.BytesIO) -> None:
    image.seek(0)
    manifest = Manifest(bytes(16), bytes(16), 1, 1, 1, bytes(32), "1", Payload.WHEELS)
    (tmp_path / "slot").mkdir()
    with pytest.raises(LocalBundleError):
        unpack_image(image, manifest, tmp_path / "slot")
    assert [path.name for path in tmp_path.iterdir()] == ["slot"]


def test_a_zipapp_is_one_file_and_runs(tmp_path: Path) -> None:
    archive = wheel_of(tmp_path, "print('zipped')").rename(tmp_path / "agent.pyz")
    payload, image = pack_image([archive])
    assert payload == Payload.ZIPAPP
    (tmp_path / "slot").mkdir()
    manifest = Manifest(bytes(16), bytes(16), 1, 1, len(image), sha256(image).digest(), "1", payload)
    unpack_image(io.BytesIO(image), manifest, tmp_path / "slot")
    done = subprocess.run([str(tmp_path / "slot" / "edge-agent")], capture_output=True, text=True)
    assert done.stdout == "zipped\n"


def test_packing_the_same_wheels_gives_the_same_bytes(tmp_path: Path) -> None:
    wheel_of(tmp_path, GOOD)
    (tmp_path / "b-1-py3-none-any.whl").write_bytes(zip_of("b.py"))
    first = pack_image([tmp_path])
    for path in tmp_path.glob("*.whl"):
        os.utime(path, (5, 5))
    assert pack_image(sorted(tmp_path.glob("*.whl"), reverse=True)) == first
    for files in ([], [tmp_path / "agent.pyz", tmp_path / "b-1-py3-none-any.whl"], [tmp_path / "nowhere.bin"]):
        with pytest.raises(LocalBundleError):
            pack_image(files)


CONFIG = """
[home]
account = 7
feeder = "f1"
edge = "ada"
[chain]
chain_id = 31337
settlement = "0x0000000000000000000000000000000000000009"
operator = "0x0000000000000000000000000000000000000008"
[key]
file = "key"
[store]
path = "outbox.db"
[clock]
trusted = true
[[meter]]
number = 0
name = "main"
link = "telegram"
telegram = "node"
device = "/dev/ttyUSB0"
public_key = "{node}"
key_file = "node.key"
[update]
vendor = "grid.example"
class = "agent"
signers = ["{first}", "{second}"]
threshold = 2
folder = "slots"
"""


def write_config(folder: Path, **changes: str) -> Path:
    texts = {
        "node": compressed(public_key_of(MAKERS[2])).hex(),
        "first": compressed(public_key_of(MAKERS[0])).hex(),
        "second": compressed(public_key_of(MAKERS[1])).hex(),
    }
    path = folder / "agent.toml"
    path.write_text(CONFIG.format(**(texts | changes)))
    return path


def test_makers_pack_and_sign_what_an_agent_takes_on_the_command_line(tmp_path: Path) -> None:
    keys = []
    for place, key in enumerate(MAKERS[:2]):
        keys.append(tmp_path / f"maker{place}")
        keys[-1].write_text(key.hex())
        keys[-1].chmod(0o600)
    signers = [RUN.invoke(app, ["update", "signer", str(key)]).stdout.strip() for key in keys]
    config = str(write_config(tmp_path, first=signers[0], second=signers[1]))
    wheel_of(tmp_path, GOOD)
    bundle = str(tmp_path / "agent-7.bundle")

    def said(*arguments: str) -> tuple[int, str]:
        done = RUN.invoke(app, ["update", *arguments])
        return done.exit_code, done.output

    pack = ["pack", str(tmp_path), "--vendor", VENDOR, "--class", MODEL, "--sequence", "7", "--version", "1.7"]
    assert said(*pack, "--key", str(keys[0]), "--out", bundle)[0] == 0
    code, text = said("check", bundle, "-c", config)
    assert code == 1 and "TOO_FEW_SIGNERS" in text
    assert said("sign", bundle, "--key", str(keys[1]))[0] == 0
    assert said("check", bundle, "-c", config)[1].startswith("ok: version 1.7, sequence 7")
    assert said("apply", bundle, "-c", config)[0] == 0
    assert "stage TRIAL" in said("status", "-c", config)[1]
    assert said("boot", "-c", config) == (0, "b\n")
    assert said("confirm", "-c", config) == (0, "slot b is confirmed\n")
    assert said("rollback", "-c", config)[0] == 1
    assert said("apply", bundle, "-c", config)[0] == 1
    assert runs(tmp_path) == "good"


def test_the_key_for_nodes_is_made_once_and_told_in_public_only(tmp_path: Path) -> None:
    path = tmp_path / "node.key"
    first = RUN.invoke(app, ["node", "key", str(path)])
    assert first.exit_code == 0 and len(first.stdout.strip()) == 128
    assert RUN.invoke(app, ["node", "key", str(path)]).stdout == first.stdout
    assert path.read_text().strip() not in first.stdout and path.stat().st_mode & 0o077 == 0


def test_update_and_node_keys_are_read_and_what_is_wrong_is_named(tmp_path: Path) -> None:
    config = agent_config_from_toml(write_config(tmp_path))
    assert config.update is not None and config.update.folder == tmp_path / "slots" and config.update.threshold == 2
    node = config.meters[0].node
    assert node is not None and node.public_key == public_key_of(MAKERS[2]) and node.key_file == tmp_path / "node.key"
    for changes, text in (
        ({"first": "02ab"}, "signers is '02ab'"),
        ({"first": compressed(public_key_of(MAKERS[1])).hex()}, "one key twice"),
        ({"node": "04" + "00" * 32}, "public_key is"),
    ):
        with pytest.raises(ConfigError, match=text):
            agent_config_from_toml(write_config(tmp_path, **changes))
