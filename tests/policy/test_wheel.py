"""What a wheel would hold: every package with its data files, and nothing of the tests."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pipelines.fingerprint import OUR_PACKAGES

REPOSITORY = Path(__file__).resolve().parents[2]


def test_the_wheel_packs_exactly_our_packages():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    packed = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert sorted(packed) == sorted(OUR_PACKAGES)
    assert project["project"]["scripts"] == {"eyas": "pipelines.cli:main"}


def test_data_files_are_not_ignored_by_git():
    """Hatch packs what lies in a package unless git ignores it."""
    ignored = (REPOSITORY / ".gitignore").read_text().split()
    data = [
        p
        for package in OUR_PACKAGES
        for p in (REPOSITORY / package).rglob("*")
        if p.suffix in (".npy", ".npz", ".toml")
    ]
    assert {path.name for path in data} >= {"unicode_classes.npy", "url_words.toml", "demo.toml"}
    assert not {f"*{path.suffix}" for path in data} & set(ignored)
