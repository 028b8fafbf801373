"""The running coordinator: one thread owns the core, everything else queues up in front of it.

    broker, REST ──▶ queue ──▶ group of inputs ──▶ core (own thread) ──▶ store.commit() ──▶ effects, acknowledgements
    chain events, deadlines ──────────────▲

Group commit: whatever has queued up while the last group was written is applied together and made durable by one
synchronised write; only then do acknowledgements, receipts, records and headers leave. A crash in between loses nothing
that anybody was told is kept: homes repeat, headers in state ``built`` are submitted again, chain events are read again
from the number of events that the inbox holds.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from contracts.signature import signer_of
from coordinator.chain_events import ChainEvent
from coordinator.config import MarketConfig
from coordinator.coordinator import Coordinator, Reception
from coordinator.effects import Alarm, Effect, Publish, PublishRecord, SubmitAnswer, SubmitHeader
from coordinator.running import LocalStoppedError, RemoteOverloadError, Work
from coordinator.shell.alarms import AlarmLog
from coordinator.shell.chain_port import Chain, RemoteChainError
from coordinator.shell.clock import Clock
from coordinator.shell.ingest_port import Incoming, IngestBroker
from coordinator.shell.records import publish_record
from coordinator.store.store import Store

QUEUE_LIMIT = 20_000
"""Inputs waiting: some ten seconds of work. Beyond it the newest are dropped; homes repeat them."""
GROUP_LIMIT = 500
"""Inputs a commit: bounds what a crash undoes and how long a receipt waits behind others."""
GROUP_WAIT_S = 0.002
"""How long the first input of a group waits for company: a fraction of a synchronised write."""
CHAIN_POLL_S = 0.5
CATCH_UP_LIMIT_S = 120
"""How long a start waits for the news of the chain: weeks of it take seconds, a market should not stand for minutes."""
CHAIN_PAUSE_LIMIT_S = 30
"""The pause between attempts to reach a chain that is away doubles up to this."""
DEADLINE_RETRY_S = 5
"""After a fault in a deadline the next attempt waits, so that a fault does not spin."""

T = TypeVar("T")


@dataclass(slots=True)
class _Input(Generic[T]):
    work: Work[T]
    done: asyncio.Future[T] | None = None
    acknowledge: Callable[[], None] | None = None


@dataclass(slots=True)
class _Outcome:
    input: _Input[Any]
    result: Any
    effects: list[Effect]
    fault: Exception | None = None


class CoordinatorRuntime:
    """One coordinator between its broker, its chain and its clock. Start it, await ``run``, stop it."""

    def __init__(
        self,
        market: MarketConfig,
        store_path: Path,
        operator_key: bytes,
        broker: IngestBroker,
        chain: Chain,
        clock: Clock,
        record_dir: Path,
        alarms: AlarmLog | None = None,
    ) -> None:
        self.market = market
        self.store_path = store_path
        self.record_dir = record_dir
        self.broker = broker
        self.chain = chain
        self.clock = clock
        self.alarms = alarms or AlarmLog()
        self.counters: Counter[str] = Counter()
        self.on_commit: list[Callable[[], None]] = []
        self._sign = signer_of(operator_key)
        self._queue: deque[_Input[Any]] = deque()
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="core")
        self._core: Coordinator | None = None
        self._next_deadline_ms = self._held_until_ms = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False
        self._chain_reached = False
        self._collar: tuple[int, int] | None = None

    # -- life --------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Opens the store, publishes what a crash left unpublished, and begins to take in messages."""
        await self._in_thread(self._open)
        seen = await self._in_thread(lambda: self.core.store.integer("SELECT COUNT(*) FROM inbox WHERE kind = 'chain'"))
        await self.chain.resume_after(seen)
        await self._carry_out(await self._in_thread(lambda: self.core.resume()))
        await self._catch_up()
        self._tasks = [
            asyncio.create_task(self._work(), name="work"),
            asyncio.create_task(self._follow_chain(), name="chain"),
        ]
        await self.broker.start(self._on_message)

    async def run(self, stop: asyncio.Event) -> None:
        """Runs until ``stop`` is set. Raises what ended one of its tasks."""
        waiting = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait([waiting, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        for task in done - {waiting}:
            task.result()

    async def stop(self) -> None:
        """Finishes the inputs that are queued, then closes broker, chain and store."""
        await self.broker.stop()
        self._stopping = True
        self._arrived.set()
        for task in self._tasks:
            if task.get_name() == "chain":
                task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.chain.stop()
        for left in self._queue:
            if left.done is not None and not left.done.done():
                left.done.set_exception(LocalStoppedError("the coordinator has stopped"))
        if self._core is not None:
            await self._in_thread(self.core.store.close)
        self._thread.shutdown()

    def _open(self) -> None:
        self.store_path.parent.mkdir(parents=True, exist_ok=True)
        self._core = Coordinator(self.market, Store(self.store_path), self._sign)
        self._next_deadline_ms = self._core.next_deadline_ms()
        for interval, record in self._core.store.rows("SELECT interval, record FROM headers WHERE state = 'built'"):
            publish_record(self.record_dir, int(interval), bytes(record))

    @property
    def core(self) -> Coordinator:
        """The core; only the core's thread may call it. Raises LocalStoppedError before ``start``."""
        if self._core is None:
            raise LocalStoppedError("the coordinator has not started")
        return self._core

    @property
    def ready(self) -> bool:
        """Whether inputs are worked on, the queue has room and the chain has answered."""
        return bool(self._tasks) and not self._stopping and self._chain_reached and len(self._queue) < QUEUE_LIMIT // 2

    @property
    def queued(self) -> int:
        """Inputs that wait."""
        return len(self._queue)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    # -- inputs ------------------------------------------------------------------------------------------------

    async def submit(self, topic: str, payload: bytes) -> Reception:
        """A signed message by another way than the broker; its reception, durable when this returns.

        Raises RemoteOverloadError, LocalStoppedError.
        """

        def work(core: Coordinator, now_ms: int) -> tuple[Reception, list[Effect]]:
            reception = core.receive(topic, payload, now_ms)
            return reception, reception.effects

        return await self.request(work)

    async def request(self, work: Work[T]) -> T:
        """Does ``work`` with the core and returns its result once it is durable. Raises as ``submit``."""
        if self._stopping or not self._tasks:
            raise LocalStoppedError("the coordinator is not running")
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        if not self._enqueue(_Input(work, done)):
            raise RemoteOverloadError("too many inputs are waiting")
        return await done

    def _on_message(self, incoming: Incoming) -> None:
        def work(core: Coordinator, now_ms: int) -> tuple[None, list[Effect]]:
            return None, core.on_message(incoming.topic, incoming.payload, now_ms)

        if not self._enqueue(_Input(work, acknowledge=incoming.acknowledge)):
            incoming.acknowledge()  # an unacknowledged message would hold a place in the broker's window for ever

    def _enqueue(self, one: _Input[Any]) -> bool:
        if len(self._queue) >= QUEUE_LIMIT:
            self.counters["inputs_dropped"] += 1
            self.alarms.report("overload", f"{QUEUE_LIMIT} inputs are waiting; the newest are dropped")
            return False
        self._queue.append(one)
        self._arrived.set()
        return True

    # -- the core's thread -------------------------------------------------------------------------------------

    async def _work(self) -> None:
        while not (self._stopping and not self._queue):
            await self._wait_for_work()
            group = [self._queue.popleft() for _ in range(min(GROUP_LIMIT, len(self._queue)))]
            if not self._queue and not self._stopping:
                self._arrived.clear()
            now_ms = self.clock.now_ms()
            outcomes, own_effects = await self._in_thread(partial(self._apply, group, now_ms))
            await self._release(outcomes, own_effects)

    async def _wait_for_work(self) -> None:
        if not self._queue and not self._stopping:
            arrived = asyncio.create_task(self._arrived.wait())
            due = asyncio.create_task(self.clock.sleep_until_ms(self._next_deadline_ms))
            await asyncio.wait([arrived, due], return_when=asyncio.FIRST_COMPLETED)
            for task in (arrived, due):
                task.cancel()
        if self._queue and len(self._queue) < GROUP_LIMIT:
            await asyncio.sleep(GROUP_WAIT_S)

    def _apply(self, group: list[_Input[Any]], now_ms: int) -> tuple[list[_Outcome], list[Effect]]:
        """Applies due deadlines and the group, and commits; in the core's thread.

        An input that raises is a fault of ours: everything since the last commit is undone and done again without it.
        """
        core = self.core
        own: list[Effect] = []
        outcomes = []
        try:
            own = self._run_deadline(now_ms)
            for one in group:
                outcomes.append(_Outcome(one, *one.work(core, now_ms)))
            core.store.commit()
        except Exception:  # whatever it is, the store must not keep half an input
            outcomes = self._apply_one_by_one(group, now_ms)
        self._next_deadline_ms = max(self._held_until_ms, self.core.next_deadline_ms())
        return outcomes, own

    def _run_deadline(self, now_ms: int) -> list[Effect]:
        if now_ms < self._next_deadline_ms:
            return []
        core = self.core
        try:
            effects = core.on_deadline(now_ms)
            core.store.commit()
        except Exception as fault:  # as above; tried again, because a market that never clears again is worse
            self._restore()
            self._held_until_ms = now_ms + DEADLINE_RETRY_S * 1000
            return [Alarm("core_fault", f"a deadline failed: {type(fault).__name__}: {fault}")]
        return effects

    def _apply_one_by_one(self, group: list[_Input[Any]], now_ms: int) -> list[_Outcome]:
        self._restore()
        outcomes = []
        for one in group:
            try:
                outcome = _Outcome(one, *one.work(self.core, now_ms))
                self.core.store.commit()
            except Exception as own_fault:  # this is the input that broke the group
                self._restore()
                text = f"an input was left out: {type(own_fault).__name__}: {own_fault}"
                outcome = _Outcome(one, None, [Alarm("core_fault", text)], own_fault)
            outcomes.append(outcome)
        return outcomes

    def _restore(self) -> None:
        """Back to the last commit: the store forgets, and a new core reads what it keeps in memory from it."""
        self.counters["core_faults"] += 1
        old = self.core
        old.store.roll_back()
        self._core = Coordinator(self.market, old.store, self._sign)
        self._core.counters, self._core.hearsay = old.counters, old.hearsay

    # -- what leaves -------------------------------------------------------------------------------------------

    async def _release(self, outcomes: list[_Outcome], own: list[Effect]) -> None:
        self.counters["groups"] += 1
        self.counters["inputs"] += len(outcomes)
        for outcome in outcomes:
            if outcome.input.acknowledge is not None:
                outcome.input.acknowledge()
            done = outcome.input.done
            if done is not None and not done.done():
                if outcome.fault is not None:
                    done.set_exception(outcome.fault)
                else:
                    done.set_result(outcome.result)
        await self._carry_out([*own, *(effect for outcome in outcomes for effect in outcome.effects)])
        for notify in self.on_commit:
            notify()

    async def _carry_out(self, effects: list[Effect]) -> None:
        """In the order in which the core gave them: a record before its header."""
        for effect in effects:
            match effect:
                case Publish(topic, payload):
                    if topic:
                        await self.broker.publish(topic, payload)
                        self.counters["published"] += 1
                case PublishRecord(interval, record):
                    await asyncio.to_thread(publish_record, self.record_dir, interval, record)
                case SubmitHeader(header):
                    await self.chain.submit(header)
                case SubmitAnswer(number, call, deadline_s):
                    await self.chain.answer(number, call, deadline_s)
                case Alarm(code, text):
                    self.alarms.report(code, text)

    # -- the chain ---------------------------------------------------------------------------------------------

    async def _follow_chain(self) -> None:
        """Asks the chain for events for ever, and gives each group to the core before it asks for the next."""
        pause_s = CHAIN_POLL_S
        while not self._stopping:
            try:
                events = await self.chain.events()
                self._chain_reached = True
                pause_s = CHAIN_POLL_S
                if events:
                    await self._apply_events(events)
                await self._hear_collar()
            except RemoteOverloadError:
                self.counters["collar_delayed"] += 1  # heard with the next poll
            except RemoteChainError as error:
                self._chain_reached = False
                self.counters["chain_failures"] += 1
                self.alarms.report("chain_unreachable", str(error))
                pause_s = min(pause_s * 2, CHAIN_PAUSE_LIMIT_S)
            await asyncio.sleep(pause_s)

    async def _catch_up(self) -> None:
        """Hears what happened on the chain while nobody was here, before any deadline runs.

        A round that clears first would miss an order that had been placed, or fill one that had been cancelled.
        """
        ends_at = asyncio.get_running_loop().time() + CATCH_UP_LIMIT_S
        while asyncio.get_running_loop().time() < ends_at:
            try:
                events = await self.chain.events()
            except RemoteChainError as error:
                self.alarms.report("chain_unreachable", f"{error}; rounds go on without news from the chain")
                return
            if not events:
                return
            await self._carry_out(await self._in_thread(partial(self._take_events, events)))
        self.alarms.report("chain_behind", f"the chain's news took more than {CATCH_UP_LIMIT_S} s; rounds go on")

    def _take_events(self, events: list[ChainEvent]) -> list[Effect]:
        now_ms = self.clock.now_ms()
        effects = [effect for event in events for effect in self.core.on_chain_event(event, now_ms)]
        self.core.store.commit()
        return effects

    async def _hear_collar(self) -> None:
        """Tells the core between which bounds the chain takes a price, when they have moved."""
        collar = await self.chain.collar()
        if collar is None or collar == self._collar:
            return

        def work(core: Coordinator, now_ms: int) -> tuple[None, list[Effect]]:
            quotes = zip(("price_floor", "price_cap"), collar, strict=True)
            return None, [effect for name, value in quotes for effect in core.on_quote(name, value, now_ms)]

        await self.request(work)
        self._collar = collar

    async def _apply_events(self, events: list[ChainEvent]) -> None:
        """All of them, in order. An event that the core cannot take ends the coordinator: none may be skipped."""

        def work(core: Coordinator, now_ms: int) -> tuple[None, list[Effect]]:
            return None, [effect for event in group for effect in core.on_chain_event(event, now_ms)]

        while events:
            group = events[:GROUP_LIMIT]
            try:
                await self.request(work)
                events = events[GROUP_LIMIT:]
            except RemoteOverloadError:
                await asyncio.sleep(CHAIN_POLL_S)
