"""Ways to split text, compared by what a small model makes of them: compression alone misleads (arXiv 2402.18376).

For every pattern and share of the documents: a tokenizer trained on that share, all documents tokenized with it, a mixture of
them, and short runs of the small model on it. Documents that judge are the same for all, held out by their hash; each
tokenizer has the same number of entries and each run reads about the same *bytes*, so a tokenizer that makes more
tokens is not given less text for it, but more steps. Bits per byte of the held-out documents do not depend on the tokenizer.

`shares` concern what the tokenizer is trained on; a small share holds the documents of every smaller one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Final

import numpy as np
import pyarrow as pa
import xxhash

from mixtures.mix import Mix
from mixtures.mixture import Mixture, MixtureComponent
from model_smoke.training import TrainOptions
from pipelines import storage
from pipelines.artifact import Artifact, BuildOptions, Built, Existing, build_all, open_artifact
from pipelines.errors import ConfigError, InputError
from pipelines.makers.outcome import DROPPED_TEXT, Judgement, NumberedPart, duplicate_rule, number_parts, write_outcome
from pipelines.passes import Passes
from pipelines.recipes.smoke import SmokeTrain
from pipelines.shards import ShardOutput
from pipelines.tokens import document_key, is_held_out
from tokenizer_training.split_patterns import split_pattern
from tokenizer_training.tokenize import Tokenize
from tokenizer_training.train import TrainTokenizer

SEQUENCE_LENGTH: Final = 256
JUDGE_BYTES: Final = 200_000
"""About so much text judges, by the share of documents that is held out; of a small corpus at most MAX_HELD_OUT."""
MAX_HELD_OUT: Final = 0.1
EVAL_TOKENS: Final = 1 << 30
"""No bound: one in tokens would leave a document out under one tokenizer and not under another."""


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """What to compare. `shares` of the documents train tokenizers of `vocab_size`; each model reads about `train_bytes`."""

    patterns: tuple[str, ...]
    shares: tuple[float, ...] = (1.0,)
    vocab_size: int = 4096
    num_reserved: int = 64
    size: str = "tiny"
    train_bytes: int = 1_000_000
    seeds: int = 3

    def __post_init__(self) -> None:
        cut_alike = [split_pattern(name) for name in self.patterns]
        if not self.patterns or len(set(cut_alike)) < len(cut_alike):
            raise ConfigError(f"patterns = {self.patterns}: name at least one, and none that cuts as another does")
        if not self.shares or len(set(self.shares)) < len(self.shares) or not all(0 < s <= 1 for s in self.shares):
            raise ConfigError(f"shares = {self.shares}: give shares of the documents in (0, 1], each once")
        if self.train_bytes < 1 or self.seeds < 1:
            raise ConfigError(f"train_bytes = {self.train_bytes}, seeds = {self.seeds}: give at least 1")
        TrainOptions(size=self.size)
        self.trainer(self.patterns[0])

    def trainer(self, pattern: str) -> TrainTokenizer:
        """The maker of a tokenizer."""
        return TrainTokenizer(vocab_size=self.vocab_size, num_reserved=self.num_reserved, pattern=pattern)


@dataclass(frozen=True, kw_only=True)
class TakeShare:
    """Input: documents. Keeps a share of them, by hash, of those that no model is judged by."""

    share: float
    held_out: float
    version: ClassVar[int] = 1

    def described_rules(self) -> list[dict[str, Any]]:
        """The two reasons, as the manifest lists rules."""
        return [duplicate_rule("take_share/held_out"), duplicate_rule("take_share/left_out")]

    def make(self, inputs: tuple[Built, ...], passes: Passes) -> None:
        """One pass over the files."""
        work = partial(_take, share=self.share, held_out=self.held_out)
        passes.final(work, number_parts(inputs))


def _take(part: NumberedPart, out: ShardOutput, *, share: float, held_out: float) -> dict[str, Any]:
    return write_outcome(part, out, partial(_judge, share=share, held_out=held_out), dropped_text=DROPPED_TEXT[-1])


def _judge(batch: pa.RecordBatch, first_row: int, *, share: float, held_out: float) -> Judgement:
    names = list(zip(batch.column("source").to_pylist(), batch.column("id").to_pylist(), strict=True))
    keys = np.array([document_key(source, name) for source, name in names], np.uint64)
    # Another hash than the one that holds out: by the same, a small share would be of the documents that judge.
    order = [xxhash.xxh3_64_intdigest(f"share\x00{source}\x00{name}".encode()) for source, name in names]
    held = is_held_out(keys, held_out).tolist()
    reasons = [
        "take_share/held_out"
        if judges
        else None
        if share == 1 or number < int(share * 2**64)
        else "take_share/left_out"
        for judges, number in zip(held, order, strict=True)
    ]
    given = pa.array(reasons, pa.string())
    return Judgement(
        reasons=given,
        extra={},
        signals={f"is_{name}": pa.array([reason == f"take_share/{name}" for reason in reasons], pa.bool_())
                 for name in ("held_out", "left_out")},
    )  # fmt: skip


def ablation_record(ablation: Ablation, documents: Sequence[Existing], options: BuildOptions) -> dict[str, Any]:
    """Build it all under the root; `{"format", "rows", "note"}`, a row for each pattern and share, the best first.

    Raises InputError where the documents are too few to hold any out.
    """
    opened = [open_artifact(given.uri) for given in documents]
    total = sum(map(_bytes_of, opened))
    if not total:
        raise InputError(f"no text in {', '.join(built.name for built in opened)}; look at what its filters dropped")
    held_out = min(MAX_HELD_OUT, JUDGE_BYTES / total)
    rows = [
        _row(ablation, pattern, share, held_out, documents, options)
        for share in sorted(ablation.shares)
        for pattern in ablation.patterns
    ]
    rows.sort(key=lambda row: (row["bits_per_byte"], row["pattern"], row["share"]))
    judged = {(row["judged_documents"], row["judged_bytes"]) for row in rows}
    if len(judged) > 1:
        raise InputError(f"the tokenizers were judged by different documents: {sorted(judged)}")
    number, num_bytes = judged.pop()
    note = (
        f"Judged by {number:,} documents, {num_bytes:,} bytes, that neither tokenizers nor models were trained on; a model read "
        f"about {ablation.train_bytes:,} bytes. Differences within the spread over seeds say nothing."
    )
    return {"format": 1, "rows": rows, "note": note}


def _bytes_of(built: Built) -> int:
    """Bytes of text, as the manifest counts them; else what its files take, compressed to a third or so."""
    kept = built.manifest["counts"].get("kept_bytes")
    return int(kept) if kept is not None else 3 * sum(int(f["bytes"]) for f in built.manifest["files"])


def _row(
    ablation: Ablation,
    pattern: str,
    share: float,
    held_out: float,
    documents: Sequence[Existing],
    options: BuildOptions,
) -> dict[str, Any]:
    base = f"ablate-{pattern}-{share:g}"
    taken = tuple(
        Artifact(
            name=f"ablate-{share:g}-documents-{k}", maker=TakeShare(share=share, held_out=held_out), inputs=(given,)
        )
        for k, given in enumerate(documents)
    )
    tokenizer = Artifact(name=f"{base}-tokenizer", maker=ablation.trainer(pattern), inputs=taken)
    tokens = tuple(
        Artifact(name=f"{base}-tokens-{k}", maker=Tokenize(), inputs=(given, tokenizer))
        for k, given in enumerate(documents)
    )
    trained, *tokenized = build_all((tokenizer, *tokens), options)
    num_tokens = sum(int(built.manifest["counts"]["tokens"]) for built in tokenized)
    num_bytes = sum(int(built.manifest["counts"]["kept_bytes"]) for built in tokenized)
    given = TrainOptions(size=ablation.size)
    tokens_a_step = given.sequences * SEQUENCE_LENGTH
    steps = max(1, math.ceil(ablation.train_bytes * num_tokens / num_bytes / tokens_a_step))
    components = tuple(
        MixtureComponent(name=f"input-{k}", artifact=artifact.name, weight=1)
        for k, (artifact, built) in enumerate(zip(tokens, tokenized, strict=True))
        if built.manifest["counts"]["tokens"]
    )
    mixture = Mixture(
        components=components, budget_tokens=steps * tokens_a_step, weight_unit="epochs", sequence_length=SEQUENCE_LENGTH,
        held_out=held_out, seed=0,
    )  # fmt: skip
    used = tuple(artifact for artifact in tokens if artifact.name in {c.artifact for c in components})
    mixed = Artifact(name=f"{base}-mixture", maker=Mix(mixture=mixture), inputs=used)
    runs = tuple(
        Artifact(
            name=f"{base}-run-{seed}",
            maker=SmokeTrain(options=replace(given, steps=steps, seed=seed), eval_tokens=EVAL_TOKENS),
            inputs=(mixed,),
        )
        for seed in range(ablation.seeds)
    )
    records = [json.loads(storage.read_bytes(storage.join(b.uri, "smoke.json"))) for b in build_all(runs, options)]
    found = [float(record["bits_per_byte"]["after"]) for record in records]
    judged = records[0]["bits_per_byte"]["components"].values()
    note = trained.manifest["notes"]["tokenizer"]
    return {
        "pattern": pattern,
        "share": share,
        "train_bytes": note["num_bytes"],
        "vocab_size": note["vocab_size"],
        "bytes_per_token": round(num_bytes / num_tokens, 6),
        "bits_per_byte": round(sum(found) / len(found), 6),
        "lowest": min(found),
        "highest": max(found),
        "seeds": len(found),
        "steps": steps,
        "trained_tokens": records[0]["trained_tokens"],
        "healthy": all(record["healthy"] for record in records),
        "judged_documents": sum(part["documents"] for part in judged),
        "judged_bytes": sum(part["bytes"] for part in judged),
    }
