"""Who watches the world: each auditor sees every event and says at the end what broke the rule it knows."""

from simulators.auditors.energy import EnergyAuditor
from simulators.auditors.ledger import LedgerAuditor
from simulators.auditors.limits import LimitsAuditor
from simulators.auditors.liveness import LivenessAuditor
from simulators.auditors.money import MoneyAuditor
from simulators.auditors.record import RecordAuditor
from simulators.auditors.replay import ReplayAuditor
from simulators.auditors.signatures import SignatureAuditor

AUDITORS = (
    EnergyAuditor,
    MoneyAuditor,
    LedgerAuditor,
    SignatureAuditor,
    LimitsAuditor,
    LivenessAuditor,
    RecordAuditor,
    ReplayAuditor,
)

__all__ = ["AUDITORS"]
