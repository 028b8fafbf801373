"""Gathers what anybody can see of a played street: the chain through its JSON-RPC, the published records, the store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from web3 import HTTPProvider, Web3
from web3.contract import Contract

from contracts.artifacts import load
from contracts.audit import ForcedOrder
from contracts.codes import ReadingFlag
from contracts.envelope import Envelope, open_envelope
from contracts.interval import INTERVAL_S
from contracts.messages import Bid, Header, SettlementReading
from contracts.signature import Signer
from coordinator.replay import first_difference, replay
from coordinator.store.store import Store
from device_profiles.codec import resolution
from device_profiles.profile import load_profile
from simulators.home import Home
from simulators.live.street import StreetRun
from simulators.street_judge import ChainHeader, Evidence, Recomputed, TrueSpan, Verdict


def gather(run: StreetRun) -> Evidence:
    """The evidence, read through an ordinary RPC client: nothing comes from the coordinator's memory."""
    client = Web3(HTTPProvider(run.rpc_url))
    settlement = _contract(client, "Settlement", run.market.domain.contract)
    trading = _contract(client, "EnergyTrading", run.deployment.trading)
    finalised = int(settlement.functions.finalisedCount().call())
    headers = []
    for log in settlement.events.HeaderPosted().get_logs(from_block=0):
        values = log["args"]
        header = Header(*_struct(values["header"]))
        gas = int(client.eth.get_transaction_receipt(log["transactionHash"])["gasUsed"])
        index = int(values["index"])
        headers.append(ChainHeader(header, index, bytes(values["digest"]), values["postedAt"], gas, index < finalised))
    opened = settlement.events.AccountOpened().get_logs(from_block=0)
    forced = {}
    for log in trading.events.ForcedOrder().get_logs(from_block=0):
        bid = Bid(*_struct(log["args"]["bid"]))
        forced[bid.account, bid.version] = ForcedOrder(bid)
    return Evidence(
        run.market.domain,
        run.market.terms,
        headers,
        {int(path.stem): path.read_bytes() for path in run.record_dir.glob("*.json")},
        {int(log["args"]["account"]): bytes.fromhex(log["args"]["key"][2:]) for log in opened},
        forced,
        bytes(settlement.functions.finalBalancesRoot().call()),
    )


def _contract(client: Web3, name: str, address: bytes) -> Contract:
    found: Contract = client.eth.contract(address=Web3.to_checksum_address(address), abi=load(name).abi)
    return found


def _struct(values: Any) -> list[Any]:
    fields = values.values() if hasattr(values, "values") else values
    return [bytes(v) if isinstance(v, (bytes, bytearray)) else v for v in fields]


def physical_truth(run: StreetRun, found: Recomputed) -> dict[tuple[int, int], TrueSpan]:
    """The registers of an undisturbed run of the physics when a reading was asked for and when it had arrived."""
    arrived_s = _arrivals(run.store_path)
    truth: dict[tuple[int, int], TrueSpan] = {}
    for account, plan in zip(run.accounts, run.plans, strict=True):
        early, late = Home(plan, run.settings.day), Home(plan, run.settings.day)
        for key in sorted(k for k in found.registers if k[0] == account):
            envelope = open_envelope(found.registers[key][2])
            reading = envelope.message if isinstance(envelope, Envelope) else None
            if isinstance(reading, SettlementReading):
                held_s = INTERVAL_S if reading.flags & ReadingFlag.HELD else 0
                asked_s = reading.taken_at_s - 1 - held_s
                latest_s = max(arrived_s[reading.struct_hash()], asked_s)
                truth[key] = TrueSpan(_registers_at(early, asked_s), _registers_at(late, latest_s))
    return truth


def _arrivals(store_path: Path) -> dict[bytes, int]:
    """``{reading's hash: second in which the coordinator first had it}``."""
    store = Store(store_path)
    rows = store.rows("SELECT hash, at_ms FROM settlement_readings JOIN inbox ON inbox.id = inbox_id")
    store.close()
    return {bytes(reading_hash): at_ms // 1000 + 1 for reading_hash, at_ms in rows}


def _registers_at(home: Home, at_s: int) -> tuple[int, int]:
    home.advance(max(home.now_s, at_s))
    values = home.meter_values()
    return values["import_wh"], values["export_wh"]


def register_steps_wh(run: StreetRun) -> dict[int, int]:
    """One step of the import register of each home's meter, rounded up."""
    steps = {}
    for account, plan, home in zip(run.accounts, run.plans, run.homes, strict=True):
        profile = load_profile(plan.meter)
        point = next(p for p in profile.points if p.measurement == "import_wh")
        steps[account] = 1 + int(resolution(point, home.meter_values()["import_wh"]))
    return steps


def coordinator_bills(store_path: Path, first_interval: int, last_interval: int) -> dict[int, int]:
    """What the coordinator's statements say each account's result of the day is, in nano-currency."""
    store = Store(store_path)
    rows = store.rows(
        "SELECT account, SUM(result_nano) FROM statements WHERE interval BETWEEN ? AND ? GROUP BY account",
        first_interval, last_interval,
    )  # fmt: skip
    store.close()
    return dict(rows)


def replay_verdict(run: StreetRun, sign: Signer) -> Verdict:
    """The store, rebuilt from its inbox alone, is the store."""
    original = Store(run.store_path)
    rebuilt = replay(original, run.market, sign)
    difference = first_difference(original, rebuilt.store)
    inputs = original.integer("SELECT COUNT(*) FROM inbox")
    original.close()
    return Verdict("replay", f"{inputs} inputs rebuild every table", (difference,) if difference else ())
