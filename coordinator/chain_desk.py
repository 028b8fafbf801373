"""The chain desk: what happened on the chain, brought to the room that it concerns."""

from __future__ import annotations

from coordinator.chain_events import (
    AccountOpened,
    ChainEvent,
    CoverDemanded,
    DemandClosed,
    DemandRaised,
    Deposited,
    HeaderFinalised,
    HeaderPosted,
    HeaderVoided,
    OrderCancelled,
    OrderForced,
    RoundDemanded,
    Withdrawn,
)
from coordinator.effects import Alarm, SubmitAnswer
from coordinator.orders import OrderDesk
from coordinator.registry import Registry
from coordinator.settlement.answers import AnswerDesk, Asked
from coordinator.settlement.header import HeaderChain

CASH_LIMIT_NANO = 10**17
"""A hundred million units of currency at once are not a home's; the store's 64 bits hold ninety such sums."""


class ChainDesk:
    """Registry, header states, order desk and open demands, as the chain tells them."""

    def __init__(self, registry: Registry, headers: HeaderChain, orders: OrderDesk, answers: AnswerDesk) -> None:
        self._registry = registry
        self._headers = headers
        self._orders = orders
        self._answers = answers

    def take(self, event: ChainEvent, now_s: int) -> list[Alarm | SubmitAnswer]:
        """Applies one event; alarms where a person should look, answers where somebody asks."""
        match event:
            case AccountOpened(account, owner, key):
                self._registry.open_account(account, owner, key)
            case Deposited(account, amount) | Withdrawn(account, amount) if amount > CASH_LIMIT_NANO:
                return [Alarm("cash_beyond_count", f"account {account} moved {amount} nano at once: not counted here")]
            case Deposited(account, amount):
                self._registry.move_cash(account, amount, 0)
            case Withdrawn(account, amount):
                self._registry.move_cash(account, 0, amount)
            case HeaderPosted(index, digest, posted_at_s, gas):
                if not self._headers.posted(index, digest, posted_at_s, gas):
                    return [Alarm("foreign_header", f"header {digest.hex()} at {index} is not ours")]
            case HeaderFinalised(index):
                self._headers.finalised(index)
            case HeaderVoided(index, reason):
                self._headers.voided(index)
                return [Alarm("header_voided", f"header {index} and all later ones were voided: {reason}")]
            case OrderForced(order_id, bid):
                if not self._orders.force(bid, now_s):
                    return [Alarm("forced_order_late", f"forced order {order_id} came after its gate closed")]
            case OrderCancelled(order_id, closed_at_s):
                self._orders.cancel_forced(order_id, closed_at_s or now_s)
            case DemandRaised(number, index, question, place, subject, deadline_s):
                return self._answers.raised(Asked(number, index, question, place, subject, deadline_s))
            case CoverDemanded(number, reserved, before, hashed):
                return self._answers.told(
                    number, reserved_nano=reserved, reserved_before_nano=before, commitments_hash=hashed.hex()
                )
            case RoundDemanded(number, product, version):
                return self._answers.told(number, product=product, version=version)
            case DemandClosed(number):
                self._answers.closed(number)
        return []
