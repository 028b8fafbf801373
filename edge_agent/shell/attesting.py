"""Has a secure element vouch for the home's key, and looks at what it gave before anybody relies on it."""

from __future__ import annotations

from contracts.attestation import KeyAttestation, SignedAttestation
from contracts.eip712 import LocalValueError, digest
from edge_agent.config import AgentConfig
from edge_agent.shell.secure_element import ElementError, SecureElement

DAY_S = 86_400


def attest(config: AgentConfig, address: bytes, element: SecureElement, now_s: int, days: int) -> SignedAttestation:
    """The element's word for ``address`` signing for the configured account, ``days`` from now on.

    Raises ElementError where the element fails, or what it signed does not count.
    """
    x, y = element.public_key()
    try:
        said = KeyAttestation(config.home.account, address, x, y, now_s, now_s + days * DAY_S)
        signed = SignedAttestation(said, element.sign(digest(said, config.chain.domain)))
    except LocalValueError as error:
        raise ElementError(str(error)) from error
    refusal = signed.refusal(config.chain.domain, config.home.account, address, now_s)
    if refusal is not None:
        raise ElementError(f"what the element signed does not count: {refusal.value}")
    return signed
