"""Secure elements behind files and programs: every usual form of a key, and what no program gets away with."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from Crypto.PublicKey import ECC

from contracts.p256 import is_signed, public_key_of, sign
from contracts.signature import address_of
from edge_agent.shell.attesting import attest
from edge_agent.shell.secure_element import CommandElement, ElementError, SoftwareElement
from tests.edge_agent.conftest import ADA_KEY, ada_config
from tests.edge_agent.elements import ELEMENT_KEY, SCRIPT, element_file, program

ADDRESS = address_of(ADA_KEY)
DIGEST = b"\x22" * 32


@pytest.mark.parametrize("form", ["hex", "SEC1", "PKCS8"])
def test_a_software_element_reads_every_usual_form_of_a_key(tmp_path: Path, form: str) -> None:
    pem = ECC.construct(curve="P-256", d=int.from_bytes(ELEMENT_KEY, "big")).export_key(
        format="PEM", use_pkcs8=form == "PKCS8"
    )
    element = SoftwareElement(element_file(tmp_path, "0x" + ELEMENT_KEY.hex() if form == "hex" else str(pem)))
    assert element.public_key() == public_key_of(ELEMENT_KEY)
    assert is_signed(DIGEST, element.sign(DIGEST), *element.public_key())


@pytest.mark.parametrize("text", ["", "zz", "00" * 32, "ff" * 32, "11" * 31, "-----BEGIN PRIVATE KEY-----"])
def test_a_file_without_a_key_is_no_element(tmp_path: Path, text: str) -> None:
    with pytest.raises(ElementError, match="no private key"):
        SoftwareElement(element_file(tmp_path, text))


def test_a_key_of_another_curve_or_under_a_password_or_for_everybody_is_no_element(tmp_path: Path) -> None:
    other = ECC.generate(curve="P-384")
    texts = [str(other.export_key(format="PEM")), str(ECC.generate(curve="Ed25519").export_key(format="PEM"))]
    locked = {"passphrase": "x", "protection": "PBKDF2WithHMAC-SHA512AndAES256-CBC"}
    texts.append(str(ECC.generate(curve="P-256").export_key(format="PEM", **locked)))
    for place, text in enumerate(texts):
        folder = tmp_path / str(place)
        with pytest.raises(ElementError, match="no private key"):
            SoftwareElement(element_file(folder, text))
    path = element_file(tmp_path)
    path.chmod(0o644)
    with pytest.raises(ElementError, match="chmod 600"):
        SoftwareElement(path)


def test_a_program_attests_and_its_high_s_is_turned_to_low(tmp_path: Path) -> None:
    element = CommandElement(program(tmp_path))
    assert element.public_key() == public_key_of(ELEMENT_KEY)
    assert element.sign(DIGEST) == sign(ELEMENT_KEY, DIGEST)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("print('zz' * 64)", "128 hexadecimal"),
        ("print('11' * 63)", "128 hexadecimal"),
        ("print('11' * 65)", "128 hexadecimal"),
        ("print('11' * 64 + '\\nmore')", "128 hexadecimal"),
        ("print('0x' + '11' * 63)", "128 hexadecimal"),
        ("pass", "128 hexadecimal"),
        ("import sys; print('11' * 64); sys.exit(3)", "exit code 3"),
        ("while True: print('1' * 1000)", "exit code"),
        ("import os; os.close(0); print('garbage')", "128 hexadecimal"),
    ],
)
def test_a_program_that_answers_something_else_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ElementError, match=said):
        CommandElement(program(tmp_path, text), limit_s=20).sign(DIGEST)


@pytest.mark.parametrize(
    "text",
    [
        "import time; time.sleep(60)",
        "import time; print('11' * 64, flush=True); time.sleep(60)",
        "import os, time; print('11' * 64, flush=True); os.close(1); time.sleep(60)",
        "import subprocess; print('11' * 64, flush=True); subprocess.run(['sleep', '60'])",
        "import subprocess; print('11' * 64, flush=True); subprocess.Popen(['sleep', '60'])",
    ],
)
def test_a_program_that_does_not_end_is_ended(tmp_path: Path, text: str) -> None:
    began_s = time.monotonic()
    with pytest.raises(ElementError, match="no answer within"):
        CommandElement(program(tmp_path, text), limit_s=0.5).sign(DIGEST)
    assert time.monotonic() - began_s < 10


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(ElementError, match="/nowhere/tool"):
        CommandElement(("/nowhere/tool",)).public_key()


def test_what_the_element_gives_is_checked_before_it_is_kept(tmp_path: Path) -> None:
    config, now_s = ada_config(tmp_path), int(time.time())
    liar = SCRIPT.replace("bytes.fromhex(sys.stdin.read().strip())", "bytes(32)")
    with pytest.raises(ElementError, match="did not sign"):
        attest(config, ADDRESS, CommandElement(program(tmp_path, liar)), now_s, 1)
    no_point = SCRIPT.replace('b"".join(public_key_of(key))', "bytes(64)")
    with pytest.raises(ElementError, match="no point"):
        attest(config, ADDRESS, CommandElement(program(tmp_path, no_point)), now_s, 1)
