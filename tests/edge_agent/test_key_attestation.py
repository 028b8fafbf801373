"""A secure element vouches for the home's key: in the running agent, the doctor and the commands."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import tomllib
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from contracts.attestation import AttestationRefusal, SignedAttestation
from contracts.birth import Birth, MeterBirth, open_birth
from contracts.codes import ClockStatus
from contracts.p256 import public_key_of
from contracts.signature import address_of
from contracts.topics import PAYLOAD_LIMIT_BYTES, Leaf
from device_profiles.profile import ProfileError, list_profiles, load_profile, profile_hash
from edge_agent.agent import Agent
from edge_agent.announcement import Origin
from edge_agent.cli import app
from edge_agent.config import AgentConfig, MeterConfig, agent_config_from_toml
from edge_agent.config_site import KeyConfig
from edge_agent.effects import Alarm, Counters, Effect, Publish
from edge_agent.shell.attesting import attest
from edge_agent.shell.clock import ScaledClock
from edge_agent.shell.diagnosis import Finding, Level, _key
from edge_agent.shell.key_store import write_key
from edge_agent.shell.origin import AttestationFileError, attestation_path, look, origin_of, write_attestation
from edge_agent.shell.runtime import Running
from edge_agent.shell.secure_element import SoftwareElement
from tests.edge_agent.conftest import ADA, ADA_KEY, CY_KEY, Home, ada_config
from tests.edge_agent.elements import ELEMENT_KEY, element_file, program

ROOT = Path(__file__).resolve().parents[2]
ADDRESS = address_of(ADA_KEY)
DAY_S = 86_400


def attested(config: AgentConfig, now_s: int, days: int = 30, address: bytes = ADDRESS) -> SignedAttestation:
    """Ada's key, attested and stored where the agent looks for it."""
    element = SoftwareElement(element_file(config.store.parent / f"made-{time.monotonic_ns()}"))
    signed = attest(config, address, element, now_s, days)
    write_attestation(attestation_path(config, now_s), signed)
    return signed


def born(effects: list[Effect]) -> Birth:
    """What the one birth among the effects says."""
    (payload,) = [e.payload for e in effects if isinstance(e, Publish) and e.topic.endswith("/birth") and e.retain]
    birth = open_birth(payload)
    assert birth is not None
    return birth


# -- the agent -----------------------------------------------------------------------------------------------------


def test_birth_tells_profiles_with_hashes_telegrams_and_the_attestation(tmp_path: Path) -> None:
    own = tmp_path / "my_meter.toml"
    own.write_text(
        (ROOT / "device_profiles/meters/eastron_sdm120.toml").read_text().replace("eastron_sdm120", own.stem)
    )
    meters = (
        MeterConfig(0, "main", "eastron_sdm630", "127.0.0.1"),
        MeterConfig(1, "own", str(own), "127.0.0.1", 503),
        MeterConfig(2, "gas", "", "127.0.0.1", 504, link="telegram", telegram="p1"),
    )
    config, now_s = ada_config(tmp_path, meters), int(time.time())
    signed = attested(config, now_s)
    agent = Running(config, ScaledClock(time.time(), now_s, 1.0), ADA_KEY).agent
    said = born(agent.on_link(True, now_s * 1000))
    shipped = (ROOT / "device_profiles/meters/eastron_sdm630.toml").read_bytes()
    assert said.meters == (
        MeterBirth(0, "eastron_sdm630", sha256(shipped).digest()),
        MeterBirth(1, "my_meter", sha256(own.read_bytes()).digest()),
        MeterBirth(2, telegram="p1"),
    )
    assert (said.account, said.address, said.attestation) == (ADA, ADDRESS, signed)
    assert agent.metrics()["attested"] == 1


def test_the_largest_home_has_a_birth_within_the_topics_limit(tmp_path: Path) -> None:
    longest = max(list_profiles(), key=len)
    meters = tuple(MeterConfig(65_000 + n, f"m{n}", longest, "10.0.0.1", 500 + n) for n in range(64))
    config, now_s = ada_config(tmp_path, meters), int(time.time())
    signed = attested(config, now_s)
    origin, _ = origin_of(config, ADDRESS, now_s, Counters())
    home = Home(tmp_path, config)
    agent = Agent(config, home.outbox, home.agent._uplink._sign, Counters(), address=ADDRESS, origin=origin)
    payload = next(
        e.payload for e in agent.on_link(True, now_s * 1000) if isinstance(e, Publish) and "birth" in e.topic
    )
    birth = open_birth(payload)
    assert len(payload) <= PAYLOAD_LIMIT_BYTES[Leaf.BIRTH] and birth is not None and birth.attestation == signed
    assert all(meter.profile_hash for meter in birth.meters)


def spoil_text(path: Path, change: Any) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("spoil", "refusal"),
    [
        (lambda path: path.write_text("nonsense"), "MALFORMED"),
        (lambda path: path.write_bytes(b"[" * 90_000), "MALFORMED"),
        (lambda path: (path.unlink(), path.mkdir()), "MALFORMED"),
        (lambda path: spoil_text(path, lambda d: d["attestation"].update(account=8)), "OTHER_ACCOUNT"),
        (lambda path: spoil_text(path, lambda d: d["attestation"].update(element_y="0x" + "00" * 32)), "NOT_ON_CURVE"),
        (
            lambda path: spoil_text(path, lambda d: d["attestation"].update(session_address="0x" + "01" * 20)),
            "OTHER_KEY",
        ),
        (lambda path: spoil_text(path, lambda d: d.update(signature="0x" + "01" * 64)), "WRONG_SIGNATURE"),
    ],
)
def test_an_attestation_that_does_not_count_is_told_and_left_out(tmp_path: Path, spoil: Any, refusal: str) -> None:
    config, now_s = ada_config(tmp_path), int(time.time())
    attested(config, now_s)
    spoil(attestation_path(config, now_s))
    running = Running(config, ScaledClock(time.time(), now_s, 1.0), ADA_KEY)
    assert born(running.agent.on_link(True, now_s * 1000)).attestation is None
    assert running.counters[f"attestation_{refusal.lower()}"] == 1 == running.counters["alarm_attestation"]
    ((_, alarm),) = running.alarms
    assert AttestationRefusal[refusal].value in alarm.text and running.agent.metrics()["attested"] == 0
    write_key(tmp_path / "key", ADA_KEY)
    (finding,) = [f for f in _key(config) if f.what == "key attestation"]
    assert finding.level == Level.WARN and "attest" in finding.cure
    running.outbox.close()


def test_an_expired_attestation_is_told_once_and_birth_goes_on_without_it(tmp_path: Path) -> None:
    now_s = int(time.time())
    config = ada_config(tmp_path)
    attested(config, now_s, days=1)
    origin, alarms = origin_of(config, ADDRESS, now_s, Counters())
    assert alarms == [] and origin.attestation is not None
    late, told = origin_of(config, ADDRESS, now_s + DAY_S, counters := Counters())
    assert late.attestation is None and len(told) == 1 and counters == {"attestation_expired": 1}

    (tmp_path / "second").mkdir()
    home = Home(tmp_path / "second", ada_config(tmp_path / "second"))
    agent = Agent(home.config, home.outbox, home.agent._uplink._sign, home.counters, address=ADDRESS, origin=origin)
    agent.on_clock(ClockStatus.SYNCHRONISED, now_s * 1000)
    assert born(agent.on_link(True, now_s * 1000)).attestation == origin.attestation
    assert not [e for e in agent.on_deadline((now_s + 120) * 1000) if isinstance(e, Alarm)]
    after = agent.on_deadline((now_s + DAY_S) * 1000)
    assert [e.code for e in after if isinstance(e, Alarm)] == ["attestation"] and born(after).attestation is None
    assert not [e for e in agent.on_deadline((now_s + DAY_S + 120) * 1000) if isinstance(e, Alarm)]
    assert home.counters["attestation_expired"] == 1 and agent.metrics()["attested"] == 0


def test_a_clock_that_was_never_set_judges_no_time(tmp_path: Path) -> None:
    config, now_s = ada_config(tmp_path), int(time.time())
    signed = attested(config, now_s)
    origin, alarms = origin_of(config, ADDRESS, 1_000, Counters())
    assert origin.attestation == signed and alarms == []
    home = Home(tmp_path, config)
    agent = Agent(config, home.outbox, home.agent._uplink._sign, Counters(), address=ADDRESS, origin=origin)
    assert born(agent.on_link(True, 1_000_000)).attestation == signed  # the operator knows the time


def test_one_that_counts_later_is_told_and_then_joins_the_birth(tmp_path: Path) -> None:
    config, now_s = ada_config(tmp_path), int(time.time())
    signed = attested(config, now_s + DAY_S)
    origin, alarms = origin_of(config, ADDRESS, now_s, Counters())
    assert len(alarms) == 1
    assert origin.attestation_at(now_s) is None and origin.attestation_at(now_s + DAY_S) == signed
    assert Origin().attestation_at(now_s) is None and not Origin().is_over(now_s)


def test_after_a_rotation_the_attestation_of_the_new_key_is_looked_for(tmp_path: Path) -> None:
    now_s = int(time.time())
    key = KeyConfig(next_file=tmp_path / "key.next", next_at_s=now_s + 100, next_account=9)
    config = replace(ada_config(tmp_path), key=key)
    attested(config, now_s)
    assert attestation_path(config, now_s) == tmp_path / "key.attestation"
    after = replace(config, home=replace(config.home, account=9))
    assert attestation_path(after, now_s + 100) == tmp_path / "key.next.attestation"
    assert look(after, address_of(CY_KEY), now_s + 100) is None
    write_key(tmp_path / "key", ADA_KEY)
    write_key(tmp_path / "key.next", CY_KEY)
    assert [f.cure for f in _key(config) if f.level == Level.WARN] == ["edge-agent key attest --next"]
    credential = replace(config, key_file=None, key=replace(key, next_file=None, next_credential="n", credential="c"))
    assert attestation_path(credential, now_s) == tmp_path / "outbox.db.attestation"
    assert attestation_path(credential, now_s + 100) == tmp_path / "outbox.db.next.attestation"


def test_the_doctor_says_how_long_it_counts_and_is_silent_without_one(tmp_path: Path) -> None:
    config, now_s = ada_config(tmp_path), int(time.time())
    write_key(tmp_path / "key", ADA_KEY)

    def findings() -> list[Finding]:
        return [finding for finding in _key(config) if finding.what == "key attestation"]

    assert findings() == []
    attested(config, now_s, days=60)
    assert [finding.level for finding in findings()] == [Level.OK]
    attested(config, now_s, days=20)
    assert [finding.level for finding in findings()] == [Level.WARN]


def test_a_folder_that_takes_no_file_is_said(tmp_path: Path) -> None:
    signed = attested(ada_config(tmp_path), int(time.time()))
    assert (tmp_path / "key.attestation").stat().st_mode & 0o777 == 0o644
    with pytest.raises(AttestationFileError, match="written"):
        write_attestation(tmp_path / "absent" / "key.attestation", signed)


def test_a_profiles_hash_is_that_of_its_file(tmp_path: Path) -> None:
    for path in sorted((ROOT / "device_profiles/meters").glob("*.toml"))[:5]:
        assert profile_hash(path.stem) == sha256(path.read_bytes()).digest() == profile_hash(path)
        assert load_profile(path.stem).name == path.stem
    with pytest.raises(ProfileError, match="no profile called"):
        profile_hash("nonsense")
    with pytest.raises(ProfileError, match="cannot be read"):
        profile_hash(tmp_path / "absent.toml")


# -- the commands --------------------------------------------------------------------------------------------------


TOML = """\
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
[[meter]]
number = 0
name = "main"
profile = "eastron_sdm630"
host = "127.0.0.1"
"""
RUN = CliRunner()


def installed(folder: Path, key_lines: str = "") -> Path:
    """Ada's files."""
    write_key(folder / "key", ADA_KEY)
    path = folder / "agent.toml"
    path.write_text(TOML.replace('file = "key"\n', 'file = "key"\n' + key_lines))
    return path


def said(*words: str) -> tuple[int, str]:
    """Exit code and everything the command printed."""
    done = RUN.invoke(app, ["key", *words])
    return done.exit_code, done.output


def test_the_commands_attest_and_show(tmp_path: Path) -> None:
    config = str(installed(tmp_path))
    code, text = said("show-attestation", "-c", config)
    assert code == 1 and "no element vouches" in text
    element = str(element_file(tmp_path))
    code, text = said("attest", "-c", config, "--element-key", element, "--days", "3")
    assert code == 0 and b"".join(public_key_of(ELEMENT_KEY)).hex() in text, text
    signed = look(agent_config_from_toml(config), ADDRESS, int(time.time()))
    assert signed is not None and signed.signed is not None and signed.refusal is None
    said_of = signed.signed.attestation
    assert said_of.valid_until_s - said_of.valid_from_s == 3 * DAY_S
    code, text = said("show-attestation", "-c", config)
    assert code == 0 and text.rstrip().endswith("ok") and "0x" + ADDRESS.hex() in text
    (tmp_path / "key").unlink()
    write_key(tmp_path / "key", CY_KEY)
    code, text = said("show-attestation", "-c", config)
    assert code == 1 and AttestationRefusal.OTHER_KEY.value in text


def test_the_element_may_be_a_program_of_the_configuration(tmp_path: Path) -> None:
    words = " ".join(f"'{word}'" for word in program(tmp_path))
    config = str(installed(tmp_path, f'element_command = "{words}"\n'))
    assert tomllib.loads(Path(config).read_text())["key"]["element_command"] == words
    assert said("attest", "-c", config)[0] == 0
    assert said("show-attestation", "-c", config)[0] == 0
    code, text = said("attest", "-c", config, "--element-command", "/nowhere/tool --slot 2")
    assert code == 69 and "/nowhere/tool" in text


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ((), 78, "name the element"),
        (("--element-key", "x", "--element-command", "y"), 78, "exclude"),
        (("--element-command", "'x"), 78, "--element-command"),
        (("--element-key", "absent"), 69, "absent"),
        (("--days", "0"), 2, "days"),
        (("--days", "99999"), 2, "days"),
        (("--next", "--element-key", "x"), 78, "next_at"),
    ],
)
def test_wrong_words_are_refused_with_the_agreed_codes(
    tmp_path: Path, words: tuple[str, ...], code: int, told: str
) -> None:
    config = str(installed(tmp_path))
    found = said("attest", "-c", config, *words)
    assert found[0] == code and told in found[1], found


def test_a_rotation_says_that_the_attestation_ends_and_the_next_key_can_be_attested(tmp_path: Path) -> None:
    config = installed(tmp_path)
    silent = said("rotate", "--at", "2099-01-01", "-c", str(config))
    assert silent[0] == 0 and "attest" not in silent[1]
    (tmp_path / "key.next").unlink()
    element = str(element_file(tmp_path))
    assert said("attest", "-c", str(config), "--element-key", element)[0] == 0
    code, text = said("rotate", "--at", "2099-01-01", "-c", str(config))
    assert code == 0 and "key attest --next" in text
    following = 'next_file = "key.next"\nnext_at = 2099-01-01T00:00:00Z\nnext_account = 9\n'
    config.write_text(TOML.replace('file = "key"\n', 'file = "key"\n' + following))
    assert said("attest", "-c", str(config), "--element-key", element, "--next", "--days", "3660")[0] == 0
    written = json.loads((tmp_path / "key.next.attestation").read_text())["attestation"]
    assert written["account"] == 9 and written["session_address"] != "0x" + ADDRESS.hex()
    assert said("show-attestation", "-c", str(config))[0] == 0


def test_an_element_command_that_no_shell_could_split_is_a_fault_of_the_configuration(tmp_path: Path) -> None:
    config = installed(tmp_path, 'element_command = "\'x"\n')
    code, text = said("show-attestation", "-c", str(config))
    assert code == 78 and "element_command" in text


def test_the_running_agent_imports_no_library_of_another_curve() -> None:
    script = (
        "import sys, edge_agent.shell.foreground, edge_agent.shell.runtime\n"
        "heavy = {'cryptography', 'Crypto', 'Cryptodome', 'ecdsa', 'edge_agent.shell.secure_element'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
