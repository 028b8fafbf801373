"""What homes say of themselves without a signature: `state` and `birth`. Kept in memory, shown, and nothing else.

Whoever may publish under a home's name can say anything here, so no rule, table or replay depends on it. Only the
attestation in a birth proves something: it is signed by the home's secure element, and judged when somebody looks,
against the participant's account and key and the element the operator has registered.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from contracts.attestation import AttestationRefusal
from contracts.birth import Birth, open_birth
from contracts.bounded_json import load_json
from contracts.eip712 import Domain
from contracts.topics import PAYLOAD_LIMIT_BYTES, Leaf, Topic
from coordinator.registry import Participant, Registry


class HearsayRefusal(Enum):
    """Why a home's words are not kept, in order of precedence; those kept before stay."""

    OTHER_FEEDER = "the topic is of another feeder"
    UNKNOWN_HOME = "no home of that name is enrolled"
    OVERSIZED = "more bytes than this topic carries"
    MALFORMED = "the bytes say nothing that can be shown"


class Vouched(Enum):
    """Who vouches for a home's key, where nothing speaks against it."""

    NOBODY = "no secure element vouches for the key"
    UNREGISTERED = "an element vouches for the key; it is not registered for this home"
    REGISTERED = "the registered element vouches for the key"


@dataclass(frozen=True, slots=True)
class Said:
    """The latest words of one home. ``online`` None: it has not said; ``born_at_s`` is when ``birth`` came."""

    online: bool | None = None
    birth: Birth | None = None
    born_at_s: int | None = None


class Hearsay:
    """The latest words of every enrolled home, by its name: as many as the registry has."""

    def __init__(self) -> None:
        self._said: dict[str, Said] = {}

    def of(self, edge: str) -> Said:
        """What that home has said."""
        return self._said.get(edge, Said())

    def take(self, topic: Topic, payload: bytes, registry: Registry, feeder: str, now_s: int) -> HearsayRefusal | None:
        """Keeps a state or birth; None, or why not. Never raises, whatever the bytes."""
        if topic.feeder != feeder:
            return HearsayRefusal.OTHER_FEEDER
        if registry.home(topic.edge) is None:
            return HearsayRefusal.UNKNOWN_HOME
        if len(payload) > PAYLOAD_LIMIT_BYTES[topic.leaf]:
            return HearsayRefusal.OVERSIZED
        before = self.of(topic.edge)
        if topic.leaf == Leaf.BIRTH:
            birth = open_birth(payload)
            if birth is None:
                return HearsayRefusal.MALFORMED
            self._said[topic.edge] = replace(before, birth=birth, born_at_s=now_s)
            return None
        online = _online(payload)
        if online is None:
            return HearsayRefusal.MALFORMED
        self._said[topic.edge] = replace(before, online=online)
        return None


def _online(payload: bytes) -> bool | None:
    try:
        document = load_json(payload)
    except ValueError:
        return None
    online = document.get("online") if isinstance(document, dict) else None
    return online if isinstance(online, bool) else None


def vouched_for(birth: Birth, participant: Participant, domain: Domain, now_s: int) -> Vouched | AttestationRefusal:
    """Who vouches for the key that the chain has for ``participant``, by what its home says; or why that fails."""
    said = birth.attestation
    if said is None:
        return Vouched.NOBODY
    if isinstance(said, AttestationRefusal):
        return said
    refusal = said.refusal(domain, participant.account, participant.key, now_s, participant.element)
    if refusal is not None:
        return refusal
    return Vouched.UNREGISTERED if participant.element is None else Vouched.REGISTERED
