"""The whole line, small: five corpora, one tokenizer, a mixture of all, a tiny model trained on it.

In: the folder `samples/` and the standard library of the running Python. Out: artifacts named `web-unique`, `tokenizer`,
`web_tokens`, `mixture`, `smoke` and so on, in the order in which they are built.
"""

from __future__ import annotations

import json
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mixtures.mix import Mix
from mixtures.mixture import parse_mixture
from pipelines.artifact import Artifact
from pipelines.errors import InputError
from pipelines.recipes import CORPORA, Request, describe
from pipelines.recipes.smoke import SmokeTrain
from tokenizer_training.tokenize import Tokenize
from tokenizer_training.train import TrainTokenizer

VOCAB_SIZE = 4096
NUM_RESERVED = 64
STDLIB_FILES = 60
STDLIB_BYTES = (2_000, 20_000)
MIXTURE = Path(__file__).resolve().parents[2] / "mixtures" / "recipes" / "demo.toml"


@dataclass(frozen=True, kw_only=True)
class DemoLine:
    """The artifacts of the demo: `corpora` by name, each already unique, and what is made of them.

    `requests` are the command lines that would build the corpora; they go into the manifests.
    """

    requests: dict[str, Request]
    corpora: dict[str, Artifact]
    tokenizer: Artifact
    tokens: dict[str, Artifact]
    mixture: Artifact
    smoke: Artifact

    def request_of(self, artifact: Artifact) -> Request | None:
        """The request that describes `artifact` again, where it belongs to a corpus."""
        named = {
            node.name: self.requests[name] for name, corpus in self.corpora.items() for node in _with_inputs(corpus)
        }
        return named.get(artifact.name)

    def in_order(self) -> tuple[Artifact, ...]:
        """Every artifact with all that it is made of, each once, inputs first."""
        found: dict[int, Artifact] = {}
        for artifact in (*self.corpora.values(), self.tokenizer, *self.tokens.values(), self.mixture, self.smoke):
            for node in _with_inputs(artifact):
                found.setdefault(id(node), node)
        return tuple(found.values())


def demo_line(samples: Path, prepared: Path) -> DemoLine:
    """Describe the demo. `prepared` is where `prepare` wrote the source files as JSONL."""
    inputs = {
        "web": (samples / "web",),
        "multilingual": (samples / "multilingual",),
        "code": (prepared / "code.jsonl", prepared / "stdlib.jsonl"),
        "math": (samples / "math" / "questions.jsonl", samples / "math" / "pages.warc.gz", prepared / "math.jsonl"),
        "synthetic": (samples / "synthetic",),
    }
    # Ids are the samples' own where a format has them; WARC records bring theirs.
    requests = {
        name: Request(recipe=name, inputs=tuple(str(path) for path in inputs[name]), id_field="jsonl:id")
        for name in CORPORA
    }
    corpora = {name: describe(request) for name, request in requests.items()}
    maker = TrainTokenizer(vocab_size=VOCAB_SIZE, num_reserved=NUM_RESERVED)
    tokenizer = Artifact(name="tokenizer", maker=maker, inputs=tuple(corpora.values()))
    tokens = {
        name: Artifact(name=f"{name}_tokens", maker=Tokenize(), inputs=(corpus, tokenizer))
        for name, corpus in corpora.items()
    }
    mixture = parse_mixture(MIXTURE.read_text(), where=str(MIXTURE))
    mixed = Artifact(name="mixture", maker=Mix(mixture=mixture), inputs=tuple(tokens.values()))
    smoke = Artifact(name="smoke", maker=SmokeTrain(), inputs=(mixed,))
    return DemoLine(requests=requests, corpora=corpora, tokenizer=tokenizer, tokens=tokens, mixture=mixed, smoke=smoke)


def prepare(samples: Path, prepared: Path) -> None:
    """Write the samples' source trees and part of the standard library as JSONL, one file a line.

    Raises InputError where `samples` is not the folder it should be.
    """
    if not (samples / "web").is_dir():
        raise InputError(f"no samples at {samples}; run the demo from a checkout, or name the folder with --samples")
    prepared.mkdir(parents=True, exist_ok=True)
    code = sorted(path for path in (samples / "code").rglob("*") if path.is_file())
    math = sorted(path for path in (samples / "math" / "tex").rglob("*") if path.is_file())
    low, high = STDLIB_BYTES
    library = Path(sysconfig.get_paths()["stdlib"])
    modules = [path for path in sorted(library.glob("*.py")) if low <= path.stat().st_size <= high]
    for name, folder, files in (
        ("code", samples / "code", code),
        ("math", samples / "math" / "tex", math),
        ("stdlib", library, modules[:STDLIB_FILES]),
    ):
        (prepared / f"{name}.jsonl").write_bytes(b"".join(_lines(folder, files)))


def _lines(folder: Path, files: Iterable[Path]) -> Iterable[bytes]:
    for path in files:
        content = path.read_bytes()
        name = json.dumps(str(path.relative_to(folder))).encode()
        try:
            text = json.dumps(content.decode(), ensure_ascii=False).encode()
        except UnicodeDecodeError:
            # What is no UTF-8 goes in as it is, so that it is the reader that quarantines it, with its reason.
            escaped = content.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
            text = b'"' + escaped.replace(b"\r", b"\\r").replace(b"\n", b"\\n") + b'"'
        yield b'{"id": ' + name + b', "text": ' + text + b"}\n"


def _with_inputs(artifact: Artifact) -> list[Artifact]:
    nodes = [node for parent in artifact.inputs if isinstance(parent, Artifact) for node in _with_inputs(parent)]
    return [*nodes, artifact]
