"""Several M-Bus meters on one real line: who is meant, what takes several telegrams, and who is silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import pytest

from edge_agent.config import ConfigError, MeterConfig
from edge_agent.config_reader import read_config
from edge_agent.effects import Counters, WriteDevice
from edge_agent.shell.clock import ScaledClock, SystemClock
from edge_agent.shell.sources import sources_of
from firmware_bridge.mbus import BROADCAST, MbusDecoder, data_request, reset_request, select_request
from firmware_bridge.telegram import Refusal
from simulators.agent_toml import agent_toml
from simulators.live.mbus_slaves import MbusLine
from simulators.live.telegram_devices import PtyMeter, TcpMeter, TelegramMeter
from simulators.telegrams import mbus_parts
from tests.edge_agent.conftest import ada_config, eventually
from tests.edge_agent.telegram_home import Listener, Runner, a_clock

VALUES = {"import_wh": 5_000_000, "export_wh": 700, "power_w": -420, "voltage_l1_mv": 231_000}


def slave(address: int, serial: str, parts: int = 1) -> TelegramMeter:
    """A meter whose import is its own number."""
    return TelegramMeter("mbus", lambda: {**VALUES, "import_wh": int(serial)}, True, serial, address, parts)


def on_line(link: Path, place: int, **more: object) -> MeterConfig:
    """The meter called `m<place>` on that line; a poll a minute of the fast clock."""
    return MeterConfig(
        place,
        f"m{place}",
        "",
        "",
        0,
        poll_s=60,
        link="telegram",
        device=str(link),
        telegram="mbus",
        **more,  # type: ignore[arg-type]
    )


@asynccontextmanager
async def asked(
    folder: Path, meters: Sequence[MeterConfig], clock: ScaledClock | SystemClock, counters: Counters
) -> AsyncIterator[Listener]:
    """The sources of these meters while the block runs: one line, so one source."""
    heard = Listener()
    config = ada_config(folder, tuple(meters))
    (source,) = sources_of(config, {}, clock, heard.samples.append, heard.results.append, counters)
    assert source.names() == [meter.name for meter in meters]
    task = asyncio.create_task(source.run())
    try:
        yield heard
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def of(heard: Listener, name: str) -> list[dict[str, int]]:
    """The values that one meter gave."""
    return [dict(sample.values or {}) for sample in heard.good if sample.device == name]


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("secondary", [False, True], ids=["by address", "by number"])
def test_every_meter_of_a_line_gives_its_own_samples_with_its_own_evidence(
    run: Runner, tmp_path: Path, secondary: bool, parts: int
) -> None:
    serials = ("10000001", "20000002", "30000003")

    async def story() -> None:
        # By number all of them may have the address they left the factory with.
        slaves = [slave(0 if secondary else place + 1, serial, parts) for place, serial in enumerate(serials)]
        device = PtyMeter(MbusLine(slaves), tmp_path / "tty")
        device.plug()
        meters = [
            on_line(device.link, place, **({"secondary_address": serial} if secondary else {"unit": place + 1}))
            for place, serial in enumerate(serials)
        ]
        async with asked(tmp_path, meters, a_clock(), Counters()) as heard:
            await eventually(lambda: all(len(of(heard, meter.name)) >= 2 for meter in meters), 30)
        device.unplug()
        for place, serial in enumerate(serials):
            samples = [sample for sample in heard.good if sample.device == f"m{place}"]
            assert {sample.serial for sample in samples} == {serial}
            assert all(dict(sample.values or {}) == {**VALUES, "import_wh": int(serial)} for sample in samples)
        hashes = {sample.device: sample.evidence for sample in heard.good}
        assert len(set(hashes.values())) == len(serials) and all(len(h or b"") == 32 for h in hashes.values())

    run(story())


def test_a_meter_behind_a_serial_server_is_asked_for_all_its_telegrams(run: Runner, tmp_path: Path) -> None:
    async def story() -> None:
        server = TcpMeter(MbusLine([slave(7, "70000007", 2)]))
        await server.start()
        meter = MeterConfig(0, "m0", "", "127.0.0.1", server.port, unit=7, link="telegram", telegram="mbus")
        async with asked(tmp_path, [meter], a_clock(), Counters()) as heard:
            await eventually(lambda: heard.good)
        await server.stop()
        assert of(heard, "m0")[0] == {**VALUES, "import_wh": 70_000_007}

    run(story())


def test_a_meter_asked_for_fewer_telegrams_than_it_has_tells_what_they_hold(run: Runner, tmp_path: Path) -> None:
    async def story() -> None:
        device = PtyMeter(slave(1, "10000001", 4), tmp_path / "tty")
        device.plug()
        async with asked(
            tmp_path, [on_line(device.link, 0, unit=BROADCAST, telegrams=2)], a_clock(), Counters()
        ) as heard:
            await eventually(lambda: heard.good)
        device.unplug()
        assert of(heard, "m0")[0] == {"import_wh": 10_000_001, "export_wh": 700}

    run(story())


def test_a_silent_meter_costs_the_others_one_short_wait_and_is_asked_less_and_less(run: Runner, tmp_path: Path) -> None:
    async def story() -> None:
        slaves = [slave(1, "10000001"), slave(2, "20000002")]
        slaves[1].faults.silent = True
        device = PtyMeter(MbusLine(slaves), tmp_path / "tty")
        device.plug()
        meters = [MeterConfig(n, f"m{n}", "", "", 0, unit=n + 1, link="telegram", device=str(device.link),
                              telegram="mbus") for n in (0, 1)]  # fmt: skip
        counters, at_s, loop = Counters(), list[float](), asyncio.get_running_loop()
        async with asked(tmp_path, meters, SystemClock(), counters) as heard:
            while len(at_s) < 6:
                await eventually(lambda: len(of(heard, "m0")) > len(at_s), 5)
                at_s.append(loop.time())
            assert 2 <= counters["mbus_turns_failed"] <= 4  # at once, after a second, another, two, four
            slaves[1].faults.silent = False
            await eventually(lambda: of(heard, "m1"), 10)
        device.unplug()
        assert (
            max(b - a for a, b in pairwise(at_s)) < 1.0 + 1.2 + 0.5
        )  # its period, two waits for a byte, a busy machine

    run(story())


def test_an_answer_of_another_meter_is_counted_and_given_to_nobody(run: Runner, tmp_path: Path) -> None:
    class Impostor(MbusLine):
        def answer(self, chunk: bytes) -> bytes:
            raw = mbus_parts(VALUES, "99999999", 0, 9, 1)[0]
            return raw if chunk[1] & 0x4F == 0x4B else b"\xe5"

    async def story() -> None:
        device, counters = PtyMeter(Impostor([]), tmp_path / "tty"), Counters()
        device.plug()
        meters = [on_line(device.link, 0, unit=1), on_line(device.link, 1, secondary_address="10000001")]
        async with asked(tmp_path, meters, a_clock(), counters) as heard:
            await eventually(lambda: counters.get("telegram_stranger", 0) >= 2 and len(heard.faults) >= 2, 20)
        device.unplug()
        assert not heard.good and any("stranger" in fault for fault in heard.faults)

    run(story())


def test_a_telegram_that_comes_too_late_does_not_answer_the_next_question(run: Runner, tmp_path: Path) -> None:
    class Late(MbusLine):
        """Says nothing when it is asked, and the register of before, unasked, half a second later."""

        register_wh = 1_000

        def answer(self, chunk: bytes) -> bytes:
            if chunk[1] & 0x4F == 0x4B:
                raw = mbus_parts({"import_wh": self.register_wh}, "10000001", 0, 1, 1)[0]
                self.register_wh += 1
                asyncio.get_running_loop().call_later(0.9, device._send, raw)
            return b""

    async def story() -> None:
        device.plug()
        counters = Counters()
        meter = MeterConfig(0, "m0", "", "", 0, unit=1, link="telegram", device=str(device.link), telegram="mbus")
        async with asked(tmp_path, [meter], SystemClock(), counters) as heard:
            await eventually(lambda: counters.get("mbus_late", 0) >= 2, 12)
        device.unplug()
        assert not heard.good

    device = PtyMeter(Late([]), tmp_path / "tty")
    run(story())


def test_set_points_for_an_m_bus_meter_are_answered_with_a_fault(tmp_path: Path) -> None:
    heard, config = Listener(), ada_config(tmp_path, (on_line(tmp_path, 0, unit=1), on_line(tmp_path, 1, unit=2)))
    (source,) = sources_of(config, {}, SystemClock(), heard.samples.append, heard.results.append)
    source.write(WriteDevice("m1", "power_setpoint_w", 1, None, 5))
    assert [(result.token, result.device, result.read_back) for result in heard.results] == [(5, "m1", None)]


# --- the decoder ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 3, 5])
def test_parts_of_an_answer_mean_what_one_telegram_would(count: int) -> None:
    raws = mbus_parts(VALUES, "12345678", 3, 1, count)
    decoder = MbusDecoder(1, "12345678", parts=16)
    for raw in raws[:-1]:
        assert decoder.feed(raw) == [] and decoder.more_follows
    (telegram,) = decoder.feed(raws[-1])
    (whole,) = MbusDecoder().feed(mbus_parts(VALUES, "12345678", 3, 1, 1)[0])
    assert (telegram.values, telegram.texts) == (whole.values, whole.texts)
    assert telegram.evidence == sha256(b"".join(sha256(raw).digest() for raw in raws)).digest()


def test_an_answer_without_all_its_parts_is_none() -> None:
    first, second, third = mbus_parts(VALUES, "12345678", 3, 1, 3)
    other = mbus_parts(VALUES, "87654321", 3, 1, 1)[0]
    decoder = MbusDecoder(parts=16)
    broken = first[:-2] + bytes((first[-2] ^ 1,)) + first[-1:]
    assert decoder.feed(broken + second) == [] and decoder.more_follows
    assert [t.values for t in decoder.feed(other)] == [VALUES]  # another meter's answer takes nothing from it
    encrypted = bytearray(second)
    encrypted[18] = 5
    encrypted[-2] = sum(encrypted[4:-2]) & 0xFF
    assert decoder.feed(first + bytes(encrypted)) == [] and decoder.answers == 4
    assert decoder.refused[Refusal.CHECKSUM] == decoder.refused[Refusal.UNSUPPORTED] == 1
    assert decoder.feed(third) == [] and decoder.refused[Refusal.EMPTY] == 1  # alone it is an answer of its own


def test_a_meter_that_never_ends_is_given_up_after_the_parts_that_were_asked_for() -> None:
    endless = mbus_parts(VALUES, "12345678", 3, 1, 2)[0]
    decoder, found = MbusDecoder(parts=4), 0
    for _ in range(8):
        found += len(decoder.feed(endless))
    assert found == 2


def test_requests_are_those_of_the_standard() -> None:
    assert reset_request(5).hex() == "1040054516"
    assert (data_request(5).hex(), data_request(5, False).hex()) == ("107b058016", "105b056016")
    assert select_request("12345678").hex() == "680b0b6853fd5278563412ffffffffb216"
    for wrong in ("1234567", "1234567F", "٣2345678"):
        with pytest.raises(ValueError, match="no M-Bus number"):
            select_request(wrong)


# --- the configuration ------------------------------------------------------------------------------------------


def meter_of(number: int, **more: str | int) -> dict[str, str | int]:
    """An M-Bus meter on the one line of these tests."""
    texts = {"name": f"m{number}", "link": "telegram", "telegram": "mbus", "device": "/dev/mbus"}
    return {"number": number, **texts, **more}


def read(folder: Path, *meters: dict[str, str | int]) -> tuple[MeterConfig, ...]:
    """The meters of a file with these tables."""
    path = folder / "agent.toml"
    path.write_text(agent_toml("ada", meters, "a test"), encoding="utf-8")
    return read_config(path).meters


def test_a_meter_alone_needs_no_address_and_several_have_their_own(tmp_path: Path) -> None:
    assert read(tmp_path, meter_of(0))[0].unit == BROADCAST
    several = read(tmp_path, meter_of(0, unit=0), meter_of(1, unit=250), meter_of(2, secondary_address="00000042"))
    assert [(m.unit, m.secondary_address, m.telegrams) for m in several] == [
        (0, "", 16), (250, "", 16), (BROADCAST, "00000042", 16),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("meters", "why"),
    [
        ([meter_of(0, unit=3), meter_of(1, unit=3)], "two of them have the same M-Bus address"),
        ([meter_of(0, secondary_address="00000001"), meter_of(1, secondary_address="00000001")], "same M-Bus address"),
        ([meter_of(0, unit=3), meter_of(1)], "m1 shares its M-Bus line: unit or secondary_address is missing"),
        ([meter_of(0, unit=251)], "unit is 251, allowed are integers from 0 to 250"),
        ([meter_of(0, unit=1, secondary_address="00000001")], "unit and secondary_address exclude each other"),
        ([meter_of(0, secondary_address="1234")], "allowed are the eight digits"),
        ([meter_of(0, telegrams=17)], "telegrams is 17, allowed are integers from 1 to 16"),
        ([meter_of(0, unit=1), meter_of(1, unit=2, baud=9600)], "one line cannot have two links"),
        ([meter_of(0, unit=1), {**meter_of(1), "telegram": "p1"}], "two of them have the same line"),
        ([{**meter_of(0), "telegram": "sml", "unit": 1}], "unknown key 'unit'"),
    ],
)
def test_addresses_that_cannot_be_meant_are_refused(
    tmp_path: Path, meters: list[dict[str, str | int]], why: str
) -> None:
    with pytest.raises(ConfigError, match=why):
        read(tmp_path, *meters)
