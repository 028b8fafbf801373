"""Cursor paging: a list is read newest first, and ``next`` names where the following page begins.

A cursor is the key of the last row, so that rows which arrive meanwhile shift nothing. It is opaque to callers.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Query

from coordinator.web.problems import RefusedRequest

PAGE_LIMIT = 500
DEFAULT_PAGE = 100

Key = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PageRequest:
    """What the caller asks for."""

    limit: int
    cursor: str | None

    def after(self, width: int) -> Key | None:
        """The key to continue after; None for the first page. Raises RefusedRequest for a cursor that is not ours."""
        if self.cursor is None:
            return None
        try:
            key = tuple(json.loads(base64.urlsafe_b64decode(self.cursor + "=" * (-len(self.cursor) % 4))))
        except (ValueError, binascii.Error, RecursionError) as error:
            raise RefusedRequest(422, "INVALID_CURSOR", "not a cursor of this interface") from error
        if len(key) != width or not all(type(part) is int and abs(part) < 2**63 for part in key):
            raise RefusedRequest(422, "INVALID_CURSOR", "not a cursor of this list")
        return key


def page_request(
    limit: Annotated[int, Query(ge=1, le=PAGE_LIMIT, description="entries a page")] = DEFAULT_PAGE,
    cursor: Annotated[str | None, Query(max_length=200, description="`next` of the page before")] = None,
) -> PageRequest:
    """The paging part of a query."""
    return PageRequest(limit, cursor)


def encode(key: Sequence[int]) -> str:
    """The cursor of a row's key."""
    return base64.urlsafe_b64encode(json.dumps(list(key)).encode()).decode().rstrip("=")


def page(rows: list[Any], request: PageRequest, key: Callable[[Any], Key]) -> tuple[list[Any], str | None]:
    """The rows of this page and the next cursor, from rows read with one more than the limit."""
    kept = rows[: request.limit]
    return kept, encode(key(kept[-1])) if len(rows) > request.limit else None
