"""Which set-points are too old for a store that does not remember what it has obeyed.

    first start          nothing was ever obeyed: no floor
    store as it was      its own floor, if it ever got one
    damaged, lost, older set-points issued up to the moment when its clock was first known count as replayed

A damaged store's sequences are carried over where they can be read (`delivery/store_file.py`), but a page may be gone
without a trace, so the floor holds in any case. It costs set-points on their way at that moment, which the operator
repeats within seconds; the other way round an unexpired one could be obeyed twice.
"""

from __future__ import annotations

from edge_agent.delivery.outbox import Outbox
from edge_agent.delivery.sequence import Sequences

MADE = "made"
"""Under this name the store keeps its floor; one without it was made anew, also while an earlier run lasted."""
NO_FLOOR_S = -1


class ReplayFloor:
    """The floor of one store. To be made before the first number of this run is lent."""

    def __init__(self, outbox: Outbox, sequences: Sequences) -> None:
        self._outbox = outbox
        kept = outbox.recall(MADE)
        self.floor_s = kept if isinstance(kept, int) else NO_FLOOR_S
        is_first = not sequences.has_lent and not outbox.is_damaged and outbox.is_open
        self._due = not is_first and (not isinstance(kept, int) or outbox.is_damaged or sequences.is_database_behind)
        if is_first and kept is None:
            outbox.remember(MADE, NO_FLOOR_S, durable=True)

    def on_clock(self, now_ms: int) -> None:
        """The time of day is known."""
        if self._due:
            self._due = False
            self.floor_s = max(self.floor_s, now_ms // 1000)
            self._outbox.remember(MADE, self.floor_s, durable=True)
