"""What every test run shares: repeatable property tests, and no silent skips where none are allowed.

``FORBID_SKIPS=1`` (set by ``.ci/run``, where every real part is installed) turns a skip into a failure.
``NIGHTLY=1`` gives property tests a large, random budget instead of the modest, repeatable one.
"""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

FORBID_SKIPS = os.environ.get("FORBID_SKIPS") == "1"

# Repeatable: the same examples on every machine, no clock in the verdict, no database that differs by desk.
settings.register_profile(
    "desk",
    max_examples=50,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "nightly",
    max_examples=2_000,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("nightly" if os.environ.get("NIGHTLY") == "1" else "desk")


def forbid_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip into a failure that keeps the reason; an expected failure is not a skip."""
    if not FORBID_SKIPS or report.outcome != "skipped" or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    report.outcome = "failed"
    report.longrepr = f"{report.nodeid}: skipped where no skip is allowed: {reason}"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    forbid_skip(report)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    forbid_skip(report)
    return report
