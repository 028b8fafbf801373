"""How commands speak: results on standard output, everything else on standard error, and exit codes.

0 done, 1 failed, 2 wrong usage, 69 something needed is unavailable, 78 the configuration is wrong, 130 interrupted.
"""

from __future__ import annotations

import sys
from typing import NoReturn

import typer

FAILED, UNAVAILABLE, WRONG_CONFIGURATION = 1, 69, 78


def say(text: str) -> None:
    """Progress for people."""
    print(text, file=sys.stderr, flush=True)


def fail(text: str, code: int) -> NoReturn:
    """Ends with a sentence and an exit code."""
    say(f"coordinator: {text}")
    raise typer.Exit(code)
