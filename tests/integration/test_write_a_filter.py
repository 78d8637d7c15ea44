"""The how-to "write a filter in 20 lines" does what it says, run outside of the repository, as a user would run it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
HOW_TO = REPOSITORY / "docs" / "how-to" / "write-a-filter.md"


def first_block() -> str:
    found = re.search(r"```python\n(.*?)```", HOW_TO.read_text("utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


def run(*words: str, folder: Path) -> str:
    path = os.pathsep.join([str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-m", "pipelines", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_recipe_of_the_how_to_runs_anywhere(tmp_path: Path) -> None:
    (tmp_path / "question_pages.py").write_text(first_block(), encoding="utf-8")
    samples = str(REPOSITORY / "samples" / "synthetic")
    command = ("build", "question_pages.py", "--input", samples, "--root", "corpus", "--json")
    made = json.loads(run(*command, "--workers", "2", folder=tmp_path))
    assert made["name"] == "question-pages-answers"
    dropped = made["counts"]["dropped"]
    assert set(dropped) == {"question_marks/mostly_questions"}
    assert 0 < dropped["question_marks/mostly_questions"] < made["counts"]["documents"] == 30

    looser = json.loads(run(*command, "--set", "question_marks.max_per_thousand=1000", folder=tmp_path))
    assert looser["counts"]["kept"] == 30
    assert looser["fingerprint"] != made["fingerprint"]


def test_what_if_needs_none_of_the_code(tmp_path: Path) -> None:
    (tmp_path / "question_pages.py").write_text(first_block(), encoding="utf-8")
    samples = str(REPOSITORY / "samples" / "synthetic")
    run("build", "question_pages.py", "--input", samples, "--root", "corpus", folder=tmp_path)
    (tmp_path / "question_pages.py").unlink()
    setting = ("--set", "question_marks.max_per_thousand=1000")
    answer = json.loads(run("whatif", "corpus/question-pages-answers", *setting, "--json", folder=tmp_path))
    assert answer["rejudged"]["after"]["kept"] == 30


def test_the_filter_has_no_more_than_twenty_lines() -> None:
    block = first_block()
    recipe = block[block.index("@dataclass") :]
    assert len([line for line in recipe.splitlines() if line.strip()]) <= 20
