"""One Modbus bus that never takes an answer for another question's: a TCP connection, a serial gateway or a line.

    ask -> line silent? -> fence after a timeout -> send -> answer of exactly this shape | exception | timeout
                                                                                            |
          the unit is left alone for longer than a timeout, the connection closed and opened anew  <-

On RTU framing a late answer looks like the next one's if both ask this unit for as many registers. Three things
stand against it: after a timeout the unit is not asked for a timeout and a quarter; a connection is closed, a line
flushed; and the next question to it is preceded by a *fence*, a short read of a shape no lost one had. A
unit answers in order, so behind the fence's answer nothing older can come. Other units go on meanwhile: their
answers differ by unit. Over TCP framing the transaction number does all that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from edge_agent.modbus_frame import (
    READ_HOLDING,
    Frame,
    Question,
    RemoteFrameError,
    RtuFrame,
    TcpFrame,
    words_of,
    write_question,
)
from edge_agent.shell.bus_wire import SerialWire, Wire, characters_s, gap_s, open_tcp_wire
from edge_agent.shell.byte_line import SerialSettings

TIMEOUT_S = 0.8
"""From the last byte a slow device thinks for 200 ms; gateways with a queue take several times that."""
TIMEOUT_LIMIT_S = 1.0
QUIET_FACTOR = 1.25
"""How much longer than a timeout a unit is left alone after one."""
GHOST_S = 30.0
"""After this nobody answers an old question any more."""
LOST_LIMIT = 8
"""Unanswered questions of a unit that are remembered: the back-off asks five times within GHOST_S."""
CONNECT_BACK_OFF_S = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
TIMEOUTS_TO_CLOSE = 2
"""Timeouts in a row after which a TCP connection is opened anew: the other side may have forgotten it."""
FENCE_COUNTS = (2, 4, 6, 8, 10, 1, 3, 5, 7, 9)
"""Even ones first: many devices refuse half a value. Two more than LOST_LIMIT, so that one is always free."""
GATEWAY_LINE: Final = SerialSettings(9_600)
"""What is behind a gateway when nobody says it."""


class RemoteBusError(Exception):
    """The bus or device did not answer as it should. ``silent``: the device said nothing at all, or nonsense."""

    def __init__(self, text: str, *, silent: bool, code: int | None = None) -> None:
        super().__init__(text)
        self.silent = silent
        self.code = code


class ModbusBus:
    """The connection to one host and port, or one serial device (``host`` is its path); one request at a time.

    ``link`` is ``tcp``, ``rtu-over-tcp`` or ``rtu``; ``settings`` are the serial line's. Not for two tasks at once.
    """

    def __init__(
        self, host: str, port: int, link: str, timeout_s: float = TIMEOUT_S, settings: SerialSettings = GATEWAY_LINE
    ) -> None:
        self._host, self._port, self._link = host, port, link
        self._settings = settings
        self._timeout_s = min(timeout_s, TIMEOUT_LIMIT_S)
        self._rtu = link != "tcp"
        self._frame: Frame = RtuFrame() if self._rtu else TcpFrame()
        self._gap_s = gap_s(settings) if self._rtu else 0.0
        self._wire: Wire | None = None
        self._answer: asyncio.Future[bytes | int] | None = None
        self._heard_s = 0.0
        self._quiet_until_s: dict[int, float] = {}
        self._lost_questions: dict[int, list[tuple[tuple[int, int], float]]] = {}
        self._strays_before = 0
        self._timeouts = 0
        self._connect_failures = 0
        self._connect_at_s = 0.0

    # Asking

    async def read(self, unit: int, function: int, address: int, count: int) -> list[int]:
        """``count`` registers by function code 3 or 4. Raises RemoteBusError."""
        return words_of(await self.ask(Question(unit, function, address, count)))

    async def write(self, unit: int, address: int, words: Sequence[int]) -> None:
        """Writes registers (function 6 for one, 16 for more). Raises RemoteBusError."""
        await self.ask(write_question(unit, address, list(words)))

    async def ask(self, question: Question, pause_ms: int = 0) -> bytes:
        """The answer's registers as they came, nothing for a write. Raises RemoteBusError.

        ``pause_ms`` is the silence this device needs before a request beyond the standard.
        """
        if self._wire is None:
            await self._connect()
        if self._rtu:
            await self._leave_alone(question.unit)
            await self._fence(question, pause_ms)
        return await self._exchange(question, pause_ms)

    def quiet_s(self, unit: int) -> float:
        """Seconds for which this unit is still left alone."""
        return max(0.0, self._quiet_until_s.get(unit, 0.0) - asyncio.get_running_loop().time())

    @property
    def strays(self) -> int:
        """Bytes that came and answered nothing."""
        return self._strays_before + self._frame.strays

    async def _leave_alone(self, unit: int) -> None:
        if unit in self._quiet_until_s:
            await asyncio.sleep(self.quiet_s(unit))
            self._quiet_until_s.pop(unit, None)
            if self._wire is None:
                await self._connect()

    async def _fence(self, question: Question, pause_ms: int) -> None:
        """Makes sure that nothing older can still be under way from this question's unit.

        An answer of the fence's own shape proves it at once. Exceptions have no shape: behind as many of them as
        questions are open, whatever may still come answers a fence. A late exception must not answer a question of
        another shape either, because that one's own answer would then come late.
        """
        now_s = asyncio.get_running_loop().time()
        lost = [ghost for ghost in self._lost_questions.pop(question.unit, ()) if ghost[1] > now_s]
        if not lost:
            return
        self._lost_questions[question.unit] = lost
        function = question.function if question.payload_bytes else READ_HOLDING
        taken = {*(shape for shape, _ in lost), question.shape}
        free = [count for count in FENCE_COUNTS if (function, count) not in taken]
        free.sort(key=lambda count: count > question.count)  # within what is readable, if possible
        fence = Question(question.unit, function, question.address, free[0])
        for _ in range(len(lost)):
            try:
                await self._exchange(fence, pause_ms)
                break
            except RemoteBusError as error:
                if error.silent:
                    raise
        self._lost_questions.pop(question.unit, None)

    async def _exchange(self, question: Question, pause_ms: int) -> bytes:
        if self._rtu:
            await self._line_silent(self._gap_s + pause_ms / 1000)
        elif pause_ms:
            await asyncio.sleep(pause_ms / 1000)
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bytes | int] = loop.create_future()
        self._answer = answer
        limit_s = self._timeout_s
        if self._rtu:
            limit_s += characters_s(len(question.rtu) + question.answer_characters, self._settings)
        timer = loop.call_later(limit_s, self._expired, answer)
        try:
            if self._wire is None:
                raise ConnectionResetError("the connection is gone")
            self._wire.send(self._frame.ask(question))
            found = await answer
        except (OSError, RemoteFrameError) as error:
            in_step = self._frame.idle() and isinstance(error, TimeoutError)
            self._failed(question, torn=not in_step)
            raise RemoteBusError(f"no answer: {error}", silent=True) from error
        except asyncio.CancelledError:
            self._failed(question, torn=True)
            raise
        finally:
            timer.cancel()
            self._answer = None
            self._frame.idle()
        self._timeouts = 0
        if isinstance(found, int):
            raise RemoteBusError(f"exception {found}", silent=False, code=found)
        return found

    async def _line_silent(self, needed_s: float) -> None:
        """Returns once nothing has come for so long; a line that never falls silent is a fault."""
        loop = asyncio.get_running_loop()
        give_up_s = loop.time() + self._timeout_s
        while (left_s := self._heard_s + needed_s - loop.time()) > 0:
            if loop.time() > give_up_s:
                raise RemoteBusError("the line is never silent", silent=True)
            await asyncio.sleep(left_s)

    def _expired(self, answer: asyncio.Future[bytes | int]) -> None:
        if not answer.done():
            answer.set_exception(TimeoutError(f"nothing of the right shape within {self._timeout_s:g} s"))

    def _failed(self, question: Question, torn: bool) -> None:
        """Nobody knows what may still come. ``torn``: the connection is gone, or out of step."""
        if not self._rtu:
            self._timeouts += 1
            if torn or self._timeouts >= TIMEOUTS_TO_CLOSE:
                self.close()
            return
        now_s = asyncio.get_running_loop().time()
        self._quiet_until_s[question.unit] = now_s + self._timeout_s * QUIET_FACTOR
        lost = self._lost_questions.setdefault(question.unit, [])
        lost.append((question.shape, now_s + GHOST_S))
        del lost[:-LOST_LIMIT]
        if torn or self._link == "rtu-over-tcp":
            self.close()

    # The wire

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() < self._connect_at_s:
            raise RemoteBusError("no connection", silent=True)
        try:
            if self._link == "rtu":
                self._wire = SerialWire(self._host, self._settings, self._received, self._lost)
            else:
                self._wire = await open_tcp_wire(self._host, self._port, self._received, self._lost)
        except OSError as error:  # TimeoutError is one
            pause_s = CONNECT_BACK_OFF_S[min(self._connect_failures, len(CONNECT_BACK_OFF_S) - 1)]
            self._connect_failures += 1
            self._connect_at_s = loop.time() + pause_s
            raise RemoteBusError(f"no connection: {error}", silent=True) from error
        self._connect_failures = self._timeouts = 0
        self._heard_s = loop.time()
        self._strays_before += self._frame.strays
        self._frame = RtuFrame() if self._rtu else TcpFrame()

    def _received(self, chunk: bytes) -> None:
        if self._rtu:
            self._heard_s = asyncio.get_running_loop().time()
        answer = self._answer
        waiting = answer is not None and not answer.done()
        try:
            found = self._frame.feed(chunk)
        except RemoteFrameError as error:
            if answer is not None and waiting:
                answer.set_exception(error)
            else:
                self.close()
            return
        if found is not None and answer is not None and waiting:
            answer.set_result(found)

    def _lost(self) -> None:
        self._wire = None
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError("the other side closed the connection"))

    def close(self) -> None:
        """Closes the connection; the next question opens it anew."""
        if self._wire is not None:
            self._wire.close()
            self._wire = None
