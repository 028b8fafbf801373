"""Who takes part: account, owner, signing key and the home's name on the feeder.

Accounts come from the chain; the operator links a home's name (its topic level) to an account once.
"""

from __future__ import annotations

from dataclasses import dataclass

from coordinator.store.store import Store


@dataclass(frozen=True, slots=True)
class Participant:
    """One account. ``edge`` is None until the home is enrolled.

    ``element`` is the public key of its secure element, 64 bytes ``x ‖ y``, where the operator has registered one.
    """

    account: int
    owner: bytes
    key: bytes
    edge: str | None
    element: bytes | None = None


class Registry:
    """The participants table with a cache of what ingest asks at every message."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._by_account: dict[int, Participant] = {}
        self._by_edge: dict[str, Participant] = {}
        self.reload()

    def reload(self) -> None:
        """Reads the table again."""
        rows = self._store.rows(
            "SELECT p.account, p.owner, p.key, p.edge, e.public_key FROM participants p LEFT JOIN elements e"
            " ON e.account = p.account"
        )
        self._by_account = {r[0]: Participant(*r) for r in rows}
        self._by_edge = {p.edge: p for p in self._by_account.values() if p.edge is not None}

    def participant(self, account: int) -> Participant | None:
        """The participant with that account."""
        return self._by_account.get(account)

    def home(self, edge: str) -> Participant | None:
        """The participant whose home has that name."""
        return self._by_edge.get(edge)

    def participants(self) -> list[Participant]:
        """All participants, by account."""
        return [self._by_account[account] for account in sorted(self._by_account)]

    def open_account(self, account: int, owner: bytes, key: bytes) -> None:
        """Records an account opened on the chain; a later event for the same account changes its key."""
        self._store.run(
            "INSERT INTO participants (account, owner, key) VALUES (?, ?, ?)"
            " ON CONFLICT (account) DO UPDATE SET owner = excluded.owner, key = excluded.key",
            account, owner, key,
        )  # fmt: skip
        self.reload()

    def move_cash(self, account: int, deposited_nano: int, withdrawn_nano: int) -> None:
        """Counts money that came in or went out on the chain."""
        self._store.run(
            "UPDATE participants SET deposited_nano = deposited_nano + ?, withdrawn_nano = withdrawn_nano + ?"
            " WHERE account = ?",
            deposited_nano, withdrawn_nano, account,
        )  # fmt: skip

    def enrol(self, account: int, edge: str) -> bool:
        """Links a home's name to an account; False when there is no such account or the name is taken."""
        taken = any(p.edge == edge and p.account != account for p in self._by_account.values())
        if account not in self._by_account or taken:
            return False
        self._store.run("UPDATE participants SET edge = ? WHERE account = ?", edge, account)
        self.reload()
        return True

    def enrol_element(self, account: int, element: bytes) -> None:
        """Records the secure element of an account, in place of the one before."""
        self._store.run(
            "INSERT INTO elements VALUES (?, ?) ON CONFLICT (account) DO UPDATE SET public_key = excluded.public_key",
            account, element,
        )  # fmt: skip
        self.reload()
