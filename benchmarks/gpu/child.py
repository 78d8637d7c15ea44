"""One part in a process of its own: `python -m benchmarks.gpu.child ROWS.jsonl '{"module": ..., ...}'`.

Each row is written, and flushed, as it comes, so a part that dies or is stopped leaves what it had. The last line says how it
ended: {"end": "done"}, or "missing" (an import failed) or "failed", with the reason.
"""

from __future__ import annotations

import importlib
import json
import sys
import traceback
from pathlib import Path
from typing import Any


def main(path: str, call: str) -> None:
    """Run the part that `call` names. A failure is written down, not raised."""
    asked: dict[str, Any] = json.loads(call)
    with Path(path).open("w") as file:

        def write(line: dict[str, Any]) -> None:
            file.write(json.dumps(line, allow_nan=False) + "\n")
            file.flush()

        try:
            from benchmarks.gpu.shapes import Options  # imports torch, which may be what is missing

            function = getattr(importlib.import_module(asked["module"]), asked["function"])
            for row in function(Options(**asked["options"]), **asked["arguments"]):
                write(row.as_json())
            write({"end": "done"})
        except ImportError as error:
            traceback.print_exc()
            write({"end": "missing", "reason": f"{type(error).__name__}: {error}"})
        except Exception as error:
            traceback.print_exc()
            write({"end": "failed", "reason": " ".join(f"{type(error).__name__}: {error}".split())[:1000]})


if __name__ == "__main__":
    main(*sys.argv[1:])
