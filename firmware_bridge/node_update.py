"""The gateway's side of a node's update: one question at a time, and the answer says what comes next.

The node decides (`update.py`); this side only carries envelope and image, goes on where the node says it is, and
confirms a trial after the new firmware has delivered a reading. A lost question or answer is asked again.
"""

from __future__ import annotations

from enum import Enum

from firmware_bridge.manifest import UpdateRefusal, split_envelope
from firmware_bridge.node_messages import (
    CHUNK_BYTES,
    ENVELOPE_PART_BYTES,
    UpdateReply,
    UpdateStep,
    chunk_body,
    envelope_body,
    step_body,
)
from firmware_bridge.update import Stage

REPEAT_MS = 2_000
"""A node verifies an envelope of eight signatures in less."""
RESTARTS_LIMIT = 20
"""A node that begins anew so often during one transfer will not finish it."""


class Progress(Enum):
    """How an offered update stands."""

    RUNNING = "running"
    TRIAL = "on trial"
    DONE = "installed"
    REFUSED = "refused"
    ROLLED_BACK = "rolled back"


class NodeUpdate:
    """One envelope and image on their way to one node."""

    def __init__(self, envelope: bytes, image: bytes) -> None:
        opened = split_envelope(envelope)
        if opened is None:
            raise ValueError("no envelope")
        self.sequence = opened[0].sequence
        self.progress = Progress.RUNNING
        self.refusal: UpdateRefusal | None = None
        self._envelope = envelope
        self._image = image
        self._question = step_body(UpdateStep.QUERY)
        self._sent_at_ms: int | None = None
        self._begun = False
        self._is_healthy = False
        self._was_on_trial = False
        self._restarts = 0

    def healthy(self) -> None:
        """The node has delivered a reading in this boot."""
        self._is_healthy = True

    def restarted(self) -> None:
        """The node has begun a new boot: what it holds must be asked again, and its health is open."""
        self._is_healthy = False
        self._begun = False
        self._restarts += 1
        if self._restarts > RESTARTS_LIMIT and not self._was_on_trial:
            self.progress = Progress.REFUSED
            self.refusal = UpdateRefusal.STORAGE_FAILED
        self._ask(step_body(UpdateStep.QUERY))

    def due(self, now_ms: int) -> bytes | None:
        """The body of the UPDATE frame to send now; None while an answer is awaited or nothing is left to do."""
        if self.progress not in (Progress.RUNNING, Progress.TRIAL):
            return None
        if self._sent_at_ms is not None and now_ms - self._sent_at_ms < REPEAT_MS:
            return None
        self._sent_at_ms = now_ms
        return self._question

    def _ask(self, question: bytes) -> None:
        self._question = question
        self._sent_at_ms = None

    def answer(self, reply: UpdateReply) -> None:
        """Takes the node's answer and forms the next question."""
        if reply.step != self._question[0] or self.progress not in (Progress.RUNNING, Progress.TRIAL):
            return
        if reply.installed == self.sequence and reply.stage == Stage.IDLE:
            self.progress = Progress.DONE
        elif reply.stage == Stage.TRIAL and reply.candidate == self.sequence:
            self._on_trial()
        elif self._was_on_trial:
            self.progress = Progress.ROLLED_BACK
        elif reply.refusal not in (0, UpdateRefusal.WRONG_OFFSET):
            self._refused(reply)
        else:
            self._carry(reply)

    def _on_trial(self) -> None:
        self.progress = Progress.TRIAL
        self._was_on_trial = True
        if self._is_healthy:
            self._ask(step_body(UpdateStep.CONFIRM))
        else:
            # Asked again after REPEAT_MS: by then a reading may have come.
            self._question = step_body(UpdateStep.QUERY)

    def _refused(self, reply: UpdateReply) -> None:
        if reply.refusal == UpdateRefusal.WRONG_STAGE and reply.step != UpdateStep.ENVELOPE:
            health = self._is_healthy
            self.restarted()
            self._is_healthy = health
            return
        self.progress = Progress.REFUSED
        known = reply.refusal in UpdateRefusal._value2member_map_
        self.refusal = UpdateRefusal(reply.refusal) if known else UpdateRefusal.MALFORMED

    def _carry(self, reply: UpdateReply) -> None:
        self._begun = self._begun or reply.step == UpdateStep.ENVELOPE
        held = reply.held if self._begun else 0
        if held < len(self._envelope):
            part = self._envelope[held : held + ENVELOPE_PART_BYTES]
            self._ask(envelope_body(held, len(self._envelope), part))
        elif reply.stage == Stage.READY:
            self._ask(step_body(UpdateStep.SWITCH))
        elif reply.received < len(self._image):
            part = self._image[reply.received : reply.received + CHUNK_BYTES]
            self._ask(chunk_body(reply.received, part))
        else:
            self._ask(step_body(UpdateStep.COMPLETE))
