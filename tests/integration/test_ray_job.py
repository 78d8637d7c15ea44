"""`ray job submit` against a cluster with a token: the same recipe, the same `root_hash`."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from pipelines.artifact import build
from tests.integration.line_corpus import described, write_corpus

REPOSITORY = Path(__file__).resolve().parents[2]
RAY = str(Path(sys.executable).with_name("ray"))
HEAD_SECONDS = 90


def free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@pytest.fixture
def cluster(tmp_path):
    """A head of its own with a token, on free ports; ended by its process group."""
    port, dashboard, agent, client, metrics = free_ports(5)
    environment = os.environ | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(24)}
    environment.pop("RAY_ADDRESS", None)
    # A short path: Ray's sockets lie below it, and their names are limited to 107 bytes.
    temporary = Path(f"/tmp/eyas-ray-{secrets.token_hex(4)}")  # noqa: S108
    command = [
        RAY, "start", "--head", "--block", "--port", str(port), "--dashboard-port", str(dashboard),
        "--dashboard-agent-listen-port", str(agent), "--ray-client-server-port", str(client),
        "--metrics-export-port", str(metrics), "--node-ip-address", "127.0.0.1", "--disable-usage-stats",
        "--num-cpus", "4", "--object-store-memory", "200000000", "--temp-dir", str(temporary),
    ]  # fmt: skip
    with (tmp_path / "head.log").open("wb") as log:
        head = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_for(dashboard, head, tmp_path / "head.log")
        yield f"http://127.0.0.1:{dashboard}", environment
    finally:
        head.send_signal(signal.SIGTERM)
        try:
            head.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(head.pid, signal.SIGKILL)
            head.wait()
        subprocess.run(["rm", "-rf", str(temporary)], check=False)


def wait_for(port: int, head: subprocess.Popen, log: Path) -> None:
    """Until the dashboard listens; fails with the head's own words."""
    deadline = time.monotonic() + HEAD_SECONDS
    while time.monotonic() < deadline and head.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        threading.Event().wait(0.2)
    pytest.fail(f"the Ray head did not come up: {log.read_text()[-2000:]}")


def submit(address: str, environment: dict, words: list[str]) -> subprocess.CompletedProcess:
    command = [RAY, "job", "submit", "--address", address, "--working-dir", str(REPOSITORY), "--", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.cluster
def test_a_submitted_job_builds_the_same_bytes(cluster, tmp_path):
    address, environment = cluster
    inputs = write_corpus(tmp_path)
    root = tmp_path / "submitted"
    build_words = [
        sys.executable, "-m", "pipelines", "build", "tests/integration/line_corpus.py", "--name", "lines",
        "--input", str(inputs / "*.jsonl"), "--root", str(root), "--executor", "ray", "--workers", "4",
    ]  # fmt: skip
    found = submit(address, environment, build_words)
    assert found.returncode == 0, found.stdout[-3000:] + found.stderr[-3000:]
    submitted = json.loads(next(root.rglob("manifest.json")).read_text())
    assert submitted["root_hash"] == build(described(inputs), root=str(tmp_path / "local"))["root_hash"]
    wrong = submit(address, environment | {"RAY_AUTH_TOKEN": "0" * 48}, ["true"])
    assert wrong.returncode != 0
    assert "token" in (wrong.stdout + wrong.stderr).lower()
    missing = submit(address, environment, [*build_words, "--set", "gopher_quality.no_such=1"])
    assert missing.returncode != 0
    assert "has no field 'no_such'" in missing.stdout
