"""`simulate meter`: any profile by name becomes a real Modbus TCP server that any client can read."""

from __future__ import annotations

import asyncio

import pytest
from pymodbus.client import AsyncModbusTcpClient

from device_profiles.profile import list_profiles, load_profile
from simulators.live.single_meter import plan_for, serve_meter

OF_A_HOME = [name for name in list_profiles() if load_profile(name).kind != "charger"]


@pytest.mark.parametrize("profile", OF_A_HOME)
def test_every_profile_finds_a_home_that_has_such_a_device(profile: str) -> None:
    plan = plan_for(profile, seed=3)
    assert profile in (plan.meter, plan.inverter, plan.battery)


def test_a_served_meter_answers_a_plain_client() -> None:
    async def story() -> float:
        said: list[str] = []
        serving = asyncio.create_task(serve_meter("eastron_sdm630", "127.0.0.1", 0, 1, 1, said.append))
        while not said:
            await asyncio.sleep(0.01)
        port = int(said[0].split("127.0.0.1:")[1].split(",")[0])
        async with AsyncModbusTcpClient("127.0.0.1", port=port) as client:
            answer = await client.read_input_registers(0x46, count=2, device_id=load_profile("eastron_sdm630").bus.unit)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        value = client.convert_from_registers(answer.registers, client.DATATYPE.FLOAT32)
        assert isinstance(value, float)
        return value

    assert asyncio.run(asyncio.wait_for(story(), 20)) == pytest.approx(50, abs=1)
