"""Kill a build at a chosen instant, resume it, and say what came out. Run as a program: it forks before it has threads.

An instant is the n-th Python call inside the engine's own modules: between any two of them, a power cut. `sys.setprofile`
counts them, so nothing of the engine is replaced. Prints one JSON line: {"events": total, "runs": [...]}.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from pathlib import Path

import pyarrow as pa

from pipelines.artifact import Artifact, build
from pipelines.schema import DOCUMENT
from pipelines.stage import run_stages
from tests.integration.line_corpus import described

ENGINE = tuple(
    f"/pipelines/{name}.py"
    for name in ("shards", "passes", "storage", "artifact", "makers/process", "manifest", "content_hash")
)


WARM = {"id": "a", "source": "b", "text": "Kernels, warm\u00e9d up.", "locator": "c"}


class Countdown:
    """Counts calls into the engine; at zero the process dies as by `kill -9`. `at` names a special place instead."""

    def __init__(self, left: int, at: str = ""):
        self.left, self.at, self.seen = left, at, 0

    def __call__(self, frame, event, argument):
        if event != "call" or not frame.f_code.co_filename.endswith(ENGINE):
            return
        if self.at:
            here = frame.f_code.co_qualname if hasattr(frame.f_code, "co_qualname") else frame.f_code.co_name
            place = f"{here} {frame.f_locals.get('uri', '')}"
            if all(part in place for part in self.at.split("&")):
                self.left -= 1
        else:
            self.seen += 1
            self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def in_child(artifact: Artifact, root: str, hook: Countdown | None) -> dict | None:
    """Build in a forked child; its answer, or None where it was killed."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        if hook:
            sys.setprofile(hook)
        manifest = build(artifact, root=root)
        sys.setprofile(None)
        answer = {"root_hash": manifest["root_hash"], "counts": manifest["counts"], "events": hook.seen if hook else 0}
        os.write(write, json.dumps(answer).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        answer = pipe.read()
    _, status = os.waitpid(child, 0)
    if not answer and not (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL):
        raise RuntimeError(f"a build ended with wait status {status} and was not killed")
    return json.loads(answer) if answer else None


def main() -> None:
    folder, seed, instants = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    artifact = described(folder / "in")
    # Kernels are loaded here, once, so that no child spends its time on that.
    run_stages(artifact.maker.pipeline.stages, pa.RecordBatch.from_pylist([WARM], schema=DOCUMENT))
    whole = in_child(artifact, str(folder / "whole"), Countdown(-1))
    chooser = random.Random(seed)
    places = [("write_bytes&/counts/", n) for n in (1, 3)] + [("_ParquetStream.write", 4), ("_HashingFile.write", 9)]
    hooks = [Countdown(n, at) for at, n in places]
    hooks += [Countdown(chooser.randint(1, whole["events"])) for _ in range(instants - len(hooks))]
    runs = []
    for number, hook in enumerate(hooks):
        root = str(folder / f"cut-{number}")
        killed = in_child(artifact, root, hook) is None
        left = sorted(p.name for p in Path(root).rglob("*") if p.is_file())
        resumed = in_child(artifact, root, None)
        temporaries = [str(p) for p in Path(root).rglob(".tmp-*")]
        runs.append({"killed": killed, "left": left, "root_hash": resumed["root_hash"], "temporaries": temporaries})
    print(json.dumps({"events": whole["events"], "root_hash": whole["root_hash"], "runs": runs}))


if __name__ == "__main__":
    main()
