"""A home is born: from the agent's files over a real broker to what the operator sees of it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from contracts.p256 import public_key_of
from contracts.signature import address_of
from coordinator.shell.broker import EmbeddedBroker
from device_profiles.profile import profile_hash
from edge_agent.config import AgentConfig, BrokerConfig, ChainConfig, ClockConfig, HomeConfig, MeterConfig
from edge_agent.shell.attesting import attest
from edge_agent.shell.clock import ScaledClock
from edge_agent.shell.origin import attestation_path, write_attestation
from edge_agent.shell.runtime import Running
from edge_agent.shell.secure_element import SoftwareElement
from tests.coordinator.running import TOKEN, running
from tests.coordinator.street import ADA, DOMAIN, MARKET, START_S, edge_of, key_of
from tests.edge_agent.elements import ELEMENT_KEY, element_file

BEARER = {"Authorization": f"Bearer {TOKEN}"}
NOBODY = 9


def test_the_operator_sees_the_profile_and_the_element_of_a_home_that_has_connected(tmp_path: Path) -> None:
    async def story() -> None:
        broker = EmbeddedBroker(port=0)
        async with running(tmp_path / "operator", broker=broker) as street:
            element = "0x" + b"".join(public_key_of(ELEMENT_KEY)).hex()
            enrolled = {"account": ADA, "edge": edge_of(ADA), "element": element}
            assert (await street.http.post("/api/v1/homes", json=enrolled, headers=BEARER)).status_code == 201
            config = AgentConfig(
                HomeConfig(ADA, "street", edge_of(ADA)),
                ChainConfig(DOMAIN.chain_id, DOMAIN.contract, MARKET.operator),
                (MeterConfig(0, "main", "eastron_sdm630", "127.0.0.1", NOBODY),),
                tmp_path / "home" / "outbox.db",
                tmp_path / "home" / "key",
                BrokerConfig("127.0.0.1", broker.port),
                clock=ClockConfig(trusted=True),
            )
            told = SoftwareElement(element_file(tmp_path / "home"))
            signed = attest(config, address_of(key_of(ADA)), told, START_S - 60, 1)
            write_attestation(attestation_path(config, START_S), signed)
            agent = Running(config, ScaledClock(time.time(), START_S, 1.0), key_of(ADA))
            stop = asyncio.Event()
            task = asyncio.create_task(agent.run(stop))
            await street.until(lambda: street.runtime.core.counters["births_heard"] >= 1)
            (home, *_) = (await street.http.get("/api/v1/homes", headers=BEARER)).json()["homes"]
            stop.set()
            await task
            assert home["attestation"]["code"] == "REGISTERED" and home["element"] == element
            assert home["says"]["meters"][0]["profile_hash"] == "0x" + profile_hash("eastron_sdm630").hex()
            assert home["online"] is True

    asyncio.run(story())
