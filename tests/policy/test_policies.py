"""Rules about the tree itself, each a habit of docs/architecture.md that a machine can check."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import re
import subprocess
from pathlib import Path

import pytest

from pipelines.fingerprint import OUR_PACKAGES
from pipelines.rules import Rule
from pipelines.stage import Filter, Transform, stage_name

REPOSITORY = Path(__file__).resolve().parents[2]
MODULES = sorted(path for package in OUR_PACKAGES for path in (REPOSITORY / package).rglob("*.py"))
FORBIDDEN_NAMES = {"utils.py", "helpers.py", "misc.py", "common.py"}
SAYS_THE_OPPOSITE = re.compile(r"enough|^good|^valid|^ok_|_ok$|below_avg|above_avg")


def stages_of_filters() -> list[type]:
    found = []
    for path in (REPOSITORY / "filters").glob("*.py"):
        module = importlib.import_module(f"filters.{path.stem}" if path.stem != "__init__" else "filters")
        for _, kind in inspect.getmembers(module, inspect.isclass):
            is_stage = issubclass(kind, Filter | Transform) if not getattr(kind, "_is_protocol", False) else False
            if kind.__module__ == module.__name__ and is_stage:
                found.append(kind)
    return found


def test_every_folder_of_code_is_a_package():
    folders = {path.parent for path in MODULES}
    assert folders
    assert not [folder for folder in folders if not (folder / "__init__.py").exists()]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_modules_open_with_their_contract_and_stay_small(path):
    text = path.read_text()
    assert path.name not in FORBIDDEN_NAMES
    assert ast.get_docstring(ast.parse(text)), "a module opens with a docstring"
    assert len(text.splitlines()) <= 450, "a module past 400 lines is two rooms"


def test_reasons_name_the_fault_and_are_unique_over_all_filters():
    seen: dict[str, str] = {}
    for kind in stages_of_filters():
        try:
            stage = kind()
        except TypeError:
            continue
        if not isinstance(stage, Filter):
            continue
        for rule in stage.rules():
            assert isinstance(rule, Rule)
            assert re.fullmatch(r"[a-z][a-z0-9_]*", rule.reason)
            assert not SAYS_THE_OPPOSITE.search(rule.reason), rule.reason
            assert seen.setdefault(rule.reason, stage_name(stage)) == stage_name(stage), rule.reason
    assert len(seen) > 30


def test_every_bound_names_the_field_that_holds_it():
    for kind in stages_of_filters():
        try:
            stage = kind()
        except TypeError:
            continue
        if isinstance(stage, Filter):
            fields = {field.name for field in dataclasses.fields(stage)}
            unnamed = [rule.reason for rule in stage.rules() if rule.field and rule.field not in fields]
            assert not unnamed, f"{stage_name(stage)}: {unnamed}"


def test_stages_are_frozen_keyword_only_dataclasses():
    kinds = stages_of_filters()
    assert len(kinds) >= 8
    for kind in kinds:
        assert dataclasses.is_dataclass(kind), kind
        assert kind.__dataclass_params__.frozen, kind
        assert all(field.kw_only for field in dataclasses.fields(kind)), kind


def tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, check=False)
    if listed.returncode:
        return [path for path in REPOSITORY.rglob("*.py") if ".venv" not in path.parts]
    return [REPOSITORY / name for name in listed.stdout.decode().split("\0") if name]


def test_no_file_is_large():
    large = [str(path) for path in tracked_files() if path.exists() and path.stat().st_size > 1 << 20]
    assert not large
