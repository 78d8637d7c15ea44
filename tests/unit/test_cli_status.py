"""`eyas status` and `eyas list`: what is finished, under way or interrupted, and what was made of what."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from pipelines.cli import main
from pipelines.cli.locate import locate
from pipelines.cli.status import RUNNING_SECONDS, artifacts_under, states_under
from pipelines.errors import ShardsFailed
from pipelines.executors.local import Local
from tests.unit.cli_corpus import built, described, with_dedup, write_corpus


class FailsLast:
    """Local, but the last shard of a pass of an artifact fails."""

    def map_shards(self, work, shards, **more):
        names = sorted(shard.name for shard in shards)

        def flaky(shard):
            if shard.name == names[-1] and "directory" in getattr(work, "keywords", {}):
                raise OSError("the disk said no")
            return work(shard)

        yield from Local().map_shards(flaky, shards)


@pytest.fixture
def interrupted(tmp_path) -> Path:
    with pytest.raises(ShardsFailed):
        built(described(write_corpus(tmp_path / "in")), str(tmp_path / "root"), executor=FailsLast())
    return tmp_path / "root"


def newest(root: Path) -> float:
    return max(path.stat().st_mtime for path in root.glob("birds-clean/*/**/*") if path.is_file())


def test_a_build_under_way_is_counted(interrupted):
    (state,) = states_under(str(interrupted), now=newest(interrupted) + 1)
    assert state["state"] == "running"
    (entry,) = state["passes"]
    assert (entry["pass"], entry["done"], entry["shards"], entry["documents"]) == ("final", 2, 3, 120)
    assert state["documents"] == 120
    (state,) = states_under(str(interrupted), now=newest(interrupted) + RUNNING_SECONDS + 1)
    assert state["state"] == "interrupted"


def test_a_temporary_that_grows_keeps_a_build_running(interrupted):
    directory = next(interrupted.glob("birds-clean/*"))
    later = newest(interrupted) + 10 * RUNNING_SECONDS
    (directory / "kept" / ".tmp-0-growing").write_bytes(b"x")
    os.utime(directory / "kept" / ".tmp-0-growing", (later, later))
    (state,) = states_under(str(interrupted), now=later + 1)
    assert state["state"] == "running"


def test_rate_is_documents_over_time_between_commits(interrupted):
    for i, path in enumerate(sorted(interrupted.glob("birds-clean/*/counts/*.json"))):
        os.utime(path, (1_800_000_000 + 4 * i, 1_800_000_000 + 4 * i))
    (state,) = states_under(str(interrupted), now=1_800_000_005.0)
    assert state["passes"][0]["documents_per_second"] == 15.0


def test_half_written_files_do_not_stop_status(interrupted):
    counts = sorted(interrupted.glob("birds-clean/*/counts/*.json"))
    counts[0].write_text("{")
    counts[1].write_text('{"counts": []}')
    (state,) = states_under(str(interrupted), now=0.0)
    assert state["documents"] == 0
    next(interrupted.glob("birds-clean/*")).joinpath("manifest.json").write_text("{")
    (state,) = states_under(str(interrupted), now=0.0)
    assert state["state"] == "damaged"
    assert "not valid JSON" in state["error"]


def test_finished_builds_and_the_commands(tmp_path, capsys):
    root = tmp_path / "root"
    exact = built(with_dedup(write_corpus(tmp_path / "in")), str(root))
    assert main(["status", str(root), "--json"]) == 0
    states = json.loads(capsys.readouterr().out)["artifacts"]
    assert [(s["name"], s["state"]) for s in states] == [("birds-clean", "finished"), ("birds-exact", "finished")]
    assert main(["status", str(root), "--watch"]) == 0
    assert "finished" in capsys.readouterr().out
    found = artifacts_under(str(root))
    assert found[1]["kept"] == exact.manifest["counts"]["kept"]
    assert found[1]["inputs"][0]["fingerprint"] == found[0]["fingerprint"]
    assert main(["list", str(root)]) == 0
    lines = capsys.readouterr().out.splitlines()
    shown = [line[: lines[0].index("fingerprint")].rstrip() for line in lines[1:]]
    assert shown == ["birds-exact", "└─ birds-clean", "   └─ birds"]
    assert "source of 3 files" in lines[3]
    shutil.rmtree(Path(locate(f"{root}/birds-clean").directory))
    assert main(["list", str(root)]) == 0
    assert "not under this root" in capsys.readouterr().out


def test_an_empty_root_and_one_that_is_not_there(tmp_path, capsys):
    assert main(["status", str(tmp_path)]) == 0
    assert "nothing has been built here" in capsys.readouterr().out
    assert main(["list", str(tmp_path)]) == 0
    assert "nothing is finished here" in capsys.readouterr().out
    assert main(["list", str(tmp_path / "no")]) == 2
    assert "no such folder" in capsys.readouterr().err
    assert main(["status", str(tmp_path), "--watch", "0"]) == 2
