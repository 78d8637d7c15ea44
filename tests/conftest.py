"""Rules for the whole suite: where skips are allowed, and a root for every test that builds something."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

from pipelines.executors import worker_environment

os.environ.update(worker_environment())  # before anything imports Numba, which reads it once

# No deadline: the first example of a kernel's test compiles it. In CI the same examples each time, so that a red run is
# about the change; anywhere else new ones every time, so that there is something to find.
settings.register_profile("eyas", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("eyas")

ALLOWED_SKIPS = ("shared data folder", "needs a CUDA device")
"""A skip whose reason holds one of these is fine in CI: the machine lacks what the test is about."""

_refused: list[str] = []


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        reason = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not any(allowed in reason for allowed in ALLOWED_SKIPS):
            _refused.append(f"{item.nodeid}: {reason}")


def pytest_sessionfinish(session, exitstatus):
    if _refused and exitstatus == 0:
        session.exitstatus = 1


def pytest_terminal_summary(terminalreporter):
    for line in _refused:
        terminalreporter.write_line(f"skipped, which CI does not allow: {line}", red=True)


@pytest.fixture
def root(tmp_path: Path) -> str:
    return str(tmp_path / "root")
