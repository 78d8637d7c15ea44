"""Where the shared real data lies, for tests marked `shared`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(os.environ.get("EYAS_SHARED", Path(__file__).resolve().parents[2] / "shared"))


def shared_path(relative: str) -> Path:
    """The path of one file or folder of the shared data, or skip the test that asks for it."""
    path = ROOT / "data" / relative
    if not path.exists():
        pytest.skip(f"needs {relative} of the shared data folder, which is not beside this checkout")
    return path
