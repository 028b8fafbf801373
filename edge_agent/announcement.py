"""What the home says about itself, retained on the broker: `state` (also its last will) and `birth`."""

from __future__ import annotations

import json

from contracts.topics import Leaf, topic
from edge_agent.config import AgentConfig
from edge_agent.effects import Publish

VERSION = "0.1.0"


def state(config: AgentConfig, online: bool, at_s: int) -> Publish:
    """Whether the agent is there, since ``at_s``."""
    document = {"online": online, "at_s": at_s}
    return Publish(topic(config.home.feeder, config.home.edge, Leaf.STATE), json.dumps(document).encode(), retain=True)


def birth(config: AgentConfig, address: bytes, epoch: int) -> Publish:
    """Version, account, the address that signs, the epoch of this run, and the meters."""
    document = {
        "version": VERSION,
        "account": config.home.account,
        "address": "0x" + address.hex(),
        "epoch": epoch,
        "meters": [{"meter": m.number, "profile": m.profile} for m in config.meters],
    }
    return Publish(topic(config.home.feeder, config.home.edge, Leaf.BIRTH), json.dumps(document).encode(), retain=True)
