"""The journal of a key's transactions: a small file, whole or not at all, written before any node hears of anything."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from coordinator.transaction_table import Attempt, Fee, Transaction, TransactionState


class LocalWishError(Exception):
    """Too many wishes at once, the same name for two different ones, or a journal that is none."""


class TransactionJournal:
    """The file of what is out. Whole or not at all: written beside, synchronised, then renamed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> tuple[list[Transaction], tuple[int, bytes] | None]:
        """What was out, and the deepest block taken for final. Raises LocalWishError for a file that is none."""
        try:
            note = json.loads(self._path.read_text(encoding="utf-8"))
            anchor = note["final_block"]
            return [_opened(entry) for entry in note["transactions"]], (
                None if anchor is None else (int(anchor[0]), bytes.fromhex(anchor[1]))
            )
        except FileNotFoundError:
            return [], None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise LocalWishError(f"{self._path} is no journal of transactions: {error}") from error

    def save(self, live: list[Transaction], anchor: tuple[int, bytes] | None) -> None:
        """Makes it durable."""
        note = {
            "final_block": None if anchor is None else [anchor[0], anchor[1].hex()],
            "transactions": [_noted(transaction) for transaction in live],
        }
        self._path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self._path.with_suffix(".unfinished")
        with unfinished.open("w", encoding="utf-8") as file:
            json.dump(note, file)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(self._path)


def _noted(transaction: Transaction) -> dict[str, Any]:
    return {
        "key": transaction.key,
        "to": None if transaction.to is None else transaction.to.hex(),
        "payload": transaction.payload.hex(),
        "value_wei": transaction.value_wei,
        "filler": transaction.filler,
        "nonce": transaction.nonce,
        "gas": transaction.gas,
        "attempts": [[a.fee.most_wei, a.fee.tip_wei, a.raw.hex(), a.hash.hex()] for a in transaction.attempts],
    }


def _opened(entry: dict[str, Any]) -> Transaction:
    attempts = tuple(
        Attempt(Fee(int(most), int(tip)), bytes.fromhex(raw), bytes.fromhex(hash_))
        for most, tip, raw, hash_ in entry["attempts"]
    )
    to = None if entry["to"] is None else bytes.fromhex(entry["to"])
    return Transaction(
        str(entry["key"]), to, bytes.fromhex(entry["payload"]), int(entry["value_wei"]), bool(entry["filler"]),
        TransactionState.SENT, int(entry["nonce"]), int(entry["gas"]), attempts,
    )  # fmt: skip
