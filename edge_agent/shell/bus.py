"""One Modbus connection that never takes an answer for another question's.

After a timeout or a mismatch the late answer may still be on its way, and on RTU framing nothing tells it from the
next one's. So the connection is closed, the bus left silent for at least one timeout, and only then opened again.
No retries, a timeout of at most a second, and the number of registers is always checked.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException
from pymodbus.framer import FramerType

TIMEOUT_S = 0.8
"""Longest answer: 125 registers at 9600 baud take 300 ms, slow devices think for another 200."""
CONNECT_TIMEOUT_S = 3.0

# The library logs every timeout by itself; ours are counted and told once.
logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)


class RemoteBusError(Exception):
    """The bus or device did not answer as it should. ``silent``: the device said nothing at all, or nonsense."""

    def __init__(self, text: str, *, silent: bool) -> None:
        super().__init__(text)
        self.silent = silent


class ModbusBus:
    """The connection to one host and port; all units behind it share it, one request at a time."""

    def __init__(self, host: str, port: int, link: str, timeout_s: float = TIMEOUT_S) -> None:
        self._host, self._port = host, port
        self._framer = FramerType.RTU if link == "rtu-over-tcp" else FramerType.SOCKET
        self._timeout_s = min(timeout_s, 1.0)
        self._client: AsyncModbusTcpClient | None = None
        self._silent_until_s = 0.0

    async def read(self, unit: int, function: int, address: int, count: int) -> list[int]:
        """``count`` registers by function code 3 or 4. Raises RemoteBusError."""
        client = await self._connected()
        ask = client.read_input_registers if function == 4 else client.read_holding_registers
        try:
            answer = await asyncio.wait_for(ask(address, count=count, device_id=unit), self._timeout_s * 1.5)
        except (ModbusException, TimeoutError, OSError) as error:
            self.close()
            raise RemoteBusError(f"no answer: {error}", silent=True) from error
        if answer.isError():
            raise RemoteBusError(f"exception {answer.exception_code}", silent=False)
        registers = list(answer.registers)
        if answer.dev_id != unit or answer.function_code != function or len(registers) != count:
            self.close()
            raise RemoteBusError(f"{len(registers)} registers instead of {count}, or another's answer", silent=True)
        return registers

    async def write(self, unit: int, address: int, words: Sequence[int]) -> None:
        """Writes registers (function 6 for one, 16 for more). Raises RemoteBusError."""
        client = await self._connected()
        try:
            if len(words) == 1:
                asked = client.write_register(address, words[0], device_id=unit)
            else:
                asked = client.write_registers(address, list(words), device_id=unit)
            answer = await asyncio.wait_for(asked, self._timeout_s * 1.5)
        except (ModbusException, TimeoutError, OSError) as error:
            self.close()
            raise RemoteBusError(f"no answer to a write: {error}", silent=True) from error
        if answer.isError():
            raise RemoteBusError(f"write refused with exception {answer.exception_code}", silent=False)
        if answer.dev_id != unit or answer.address != address:
            self.close()
            raise RemoteBusError("another write's answer", silent=True)

    async def _connected(self) -> AsyncModbusTcpClient:
        if self._client is not None and self._client.connected:
            return self._client
        self.close(heal=False)
        wait_s = self._silent_until_s - asyncio.get_running_loop().time()
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        client = AsyncModbusTcpClient(
            self._host, port=self._port, framer=self._framer, timeout=self._timeout_s, retries=0, reconnect_delay=0
        )
        try:
            connected = await asyncio.wait_for(client.connect(), CONNECT_TIMEOUT_S)
        except (ModbusException, TimeoutError, OSError) as error:
            client.close()
            raise RemoteBusError(f"no connection: {error}", silent=True) from error
        if not connected:
            client.close()
            raise RemoteBusError("no connection", silent=True)
        self._client = client
        return client

    def close(self, heal: bool = True) -> None:
        """Closes the connection; with ``heal`` the bus then stays silent for longer than one timeout."""
        if self._client is not None:
            self._client.close()
            self._client = None
        if heal:
            self._silent_until_s = asyncio.get_running_loop().time() + self._timeout_s * 1.25
