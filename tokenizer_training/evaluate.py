"""The maker that evaluates tokenizers: what each does to documents and to parallel text, as one `evaluation.json`.

In: tokenizers (artifacts of `train_tokenizer`, every size of a ladder; any `tokenizer.json`) and document artifacts. Each
tokenizer is told never to find control tokens in text. Sums are integers, gathered by shards of every tokenizer and bundle
of files, so neither shards nor workers nor their order can be seen in the result; what is divided is divided at the end.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipelines import storage
from pipelines.artifact import Built
from pipelines.counting import add_counts
from pipelines.errors import ConfigError, InputError
from pipelines.fingerprint import File
from pipelines.passes import Passes
from pipelines.shards import ShardOutput
from pipelines.tokens import npy_bytes
from tokenizer_training.encoding import text_groups
from tokenizer_training.fertility import COUNTS, measure, rates
from tokenizer_training.ladder import folder_of
from tokenizer_training.parity import compare_languages, parallel_of, read_parallel
from tokenizer_training.spans import OpenTokenizer
from tokenizer_training.vocabulary import inspect_vocabulary

FORMAT: Final = 1
GROUP_BYTES: Final = 16 << 20
BUNDLE_BYTES: Final = 64 << 20
"""Bytes of Parquet a shard: opening a large tokenizer takes a second or two, which a file of a few kilobytes would not repay."""
ALL, CONTENT, LATEX, OTHER = "all", "content", "latex", "other"
MIN_LATEX_COMMANDS, MAX_BYTES_PER_COMMAND = 10, 500
"""A document is LaTeX with at least 10 commands, one in every 500 bytes. That holds for all of 122 LaTeX sources of the
shared data, for none of 34,353 documents of prose in 18 languages, and for 9 of 1,993 source files (TeX, Sweave, RTF)."""
UNKNOWN: Final = "none"


@dataclass(frozen=True, kw_only=True)
class TokenizerFile:
    """A `tokenizer.json` from anywhere, and what to call it."""

    label: str
    file: File


@dataclass(frozen=True, kw_only=True)
class OpenedShard:
    """A `tokenizer.json` and a bundle of document files."""

    name: str
    uri: str
    document_uris: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class EvaluateTokenizers:
    """Inputs: `num_tokenizers` artifacts of train_tokenizer, then documents. `files` are tokenizers of other makers.

    Documents are grouped by each of the columns `group_by` that they have, by whether they are LaTeX, and all together.
    `parallel` is parallel text (`parity`), `pivot` the language that others are compared with. A token is rare that the
    documents use less than `min_uses` times.
    """

    version: ClassVar[int] = 1
    libraries: ClassVar[tuple[str, ...]] = ("tokenizers",)
    num_tokenizers: int = 1
    files: tuple[TokenizerFile, ...] = ()
    group_by: tuple[str, ...] = ("source", "language", "code_language")
    parallel: File | None = None
    pivot: str = "en"
    min_uses: int = 10

    def __post_init__(self) -> None:
        if self.num_tokenizers < 0 or not self.num_tokenizers + len(self.files):
            raise ConfigError("no tokenizer to evaluate; name at least one")
        if {ALL, CONTENT} & set(self.group_by) or len(set(self.group_by)) < len(self.group_by):
            raise ConfigError(f"group_by = {self.group_by}: name each column once, and neither {ALL!r} nor {CONTENT!r}")
        if self.min_uses < 1:
            raise ConfigError(f"min_uses = {self.min_uses}: give at least 1")

    def make(self, inputs: tuple[Built, ...], passes: Passes) -> None:
        """Measure, inspect, put `evaluation.json`. InputError where there is no document, or no tokenizer where one should be."""
        trained, documents = inputs[: self.num_tokenizers], inputs[self.num_tokenizers :]
        opened = self._open(trained, passes)
        bundles = _bundles(documents)
        if not bundles:
            raise InputError(
                f"no documents to evaluate on in {', '.join(built.name for built in documents) or 'no input'}"
            )
        shards = [
            OpenedShard(name=f"{t:03d}-{b:05d}", uri=uri, document_uris=uris)
            for t, (_, uri) in enumerate(opened)
            for b, uris in enumerate(bundles)
        ]
        measured = passes.run("measure", partial(measure_bundle, group_by=self.group_by), shards)
        parallel_uri = ""
        if self.parallel is not None:
            parallel = read_parallel(self.parallel.path, pivot=self.pivot)
            passes.put("parallel.json", parallel.as_json())
            parallel_uri = storage.join(passes.directory, "parallel.json")
        alone = [OpenedShard(name=f"{t:03d}", uri=uri) for t, (_, uri) in enumerate(opened)]
        inspected = passes.run("inspect", partial(inspect_one, parallel_uri=parallel_uri), alone)
        found = []
        for t, (label, _) in enumerate(opened):
            own = [commit for commit in measured if commit.shard.startswith(f"{t:03d}-")]
            counts: dict[str, Any] = {}
            uses = np.zeros(0, np.int64)
            for commit in own:
                counts = add_counts(counts, commit.counts["groups"])
                uses = _added(uses, np.load(storage.open_input(commit.path("uses", ".npy")), allow_pickle=False))
            if not counts:
                raise InputError(
                    f"no document in {', '.join(built.name for built in documents)}; look at what was dropped"
                )
            about = json.loads(storage.read_bytes(inspected[t].path("about", ".json")))
            found.append({"label": label, **_described(counts, uses, about, min_uses=self.min_uses)})
        record = {"format": FORMAT, "group_by": list(self.group_by), "min_uses": self.min_uses, "tokenizers": found}
        passes.put("evaluation.json", (json.dumps(record, indent=1, sort_keys=True) + "\n").encode())
        passes.note("evaluation", {"tokenizers": [entry["label"] for entry in found]})

    def _open(self, trained: Sequence[Built], passes: Passes) -> list[tuple[str, str]]:
        """(label, URI of its tokenizer.json) of every tokenizer."""
        found: list[tuple[str, str]] = []
        for built in trained:
            ladder = built.manifest.get("notes", {}).get("tokenizer", {}).get("ladder", [])
            sizes = tuple(int(rung["asked_vocab_size"]) for rung in ladder) or (0,)
            for size in sizes:
                uri = storage.join(built.uri, folder_of(size, sizes), "tokenizer.json")
                if not storage.exists(uri):
                    raise InputError(
                        f"{built.name}: no {folder_of(size, sizes)}/tokenizer.json in it; give an artifact of train_tokenizer"
                    )
                found.append((built.name if len(sizes) == 1 else f"{built.name}-{size}", uri))
        for number, given in enumerate(self.files):
            name = f"tokenizers/{number:03d}.json"
            passes.put(name, Path(given.file.path).read_bytes())
            found.append((given.label, storage.join(passes.directory, *name.split("/"))))
        seen: dict[str, int] = {}
        labelled = []
        for label, uri in found:
            seen[label] = seen.get(label, 0) + 1
            labelled.append((label if seen[label] == 1 else f"{label} ({seen[label]})", uri))
        return labelled


def measure_bundle(shard: OpenedShard, out: ShardOutput, *, group_by: Sequence[str]) -> dict[str, Any]:
    """Counts of every group of the documents in a bundle, and `uses/`: how often each id occurs, int64 [vocab_size]."""
    tokenizer = OpenTokenizer(storage.read_bytes(shard.uri), where=shard.uri)
    groups: dict[str, Any] = {}
    uses = np.zeros(tokenizer.vocab_size, np.int64)
    for uri in shard.document_uris:
        present = [name for name in group_by if name in storage.read_schema(uri).names]
        for batch in storage.read_batches(uri, columns=[*present, "text"]):
            texts = batch.column("text").cast(pa.large_string())
            rows = 0
            for part in text_groups(texts, GROUP_BYTES):
                try:
                    counts, ids = measure(tokenizer, part)
                except InputError as error:
                    raise InputError(f"{uri}: {error}") from error
                uses += np.bincount(ids, minlength=uses.size)
                own = batch.slice(rows, len(part))
                groups = add_counts(groups, _grouped(own, counts, present))
                rows += len(part)
    out.open("uses", ".npy").write(npy_bytes(uses))
    return {"groups": groups, "documents": groups.get(ALL, {}).get(ALL, {}).get("documents", 0)}


def _grouped(batch: pa.RecordBatch, counts: npt.NDArray[np.int64], columns: Sequence[str]) -> dict[str, Any]:
    named = {name: pc.fill_null(batch.column(name).cast(pa.string()), UNKNOWN) for name in columns}
    commands, num_bytes = counts[:, COUNTS.index("latex")], counts[:, COUNTS.index("bytes")]
    latex = (commands >= MIN_LATEX_COMMANDS) & (commands * MAX_BYTES_PER_COMMAND >= num_bytes)
    named[CONTENT] = pa.array(np.where(latex, LATEX, OTHER).tolist(), pa.string())
    named[ALL] = pa.array([ALL] * batch.num_rows, pa.string())
    sums = {name: counts[:, k] for k, name in enumerate(COUNTS)}
    found: dict[str, Any] = {}
    for column, values in named.items():
        table = pa.table({"group": values, **sums}).group_by("group", use_threads=False)
        rows = table.aggregate([(name, "sum") for name in COUNTS]).to_pylist()
        found[column] = {row["group"]: {name: row[f"{name}_sum"] for name in COUNTS} for row in rows}
    return found


def inspect_one(shard: OpenedShard, out: ShardOutput, *, parallel_uri: str) -> dict[str, Any]:
    """`about/`: the vocabulary by itself, and the parallel text if there is one."""
    tokenizer = OpenTokenizer(storage.read_bytes(shard.uri), where=shard.uri)

    def count(texts: Sequence[str]) -> list[int]:
        _, ends = tokenizer.encoder.encode(pa.array(texts, pa.large_string()))
        return [int(number) for number in np.diff(ends, prepend=0)]

    about: dict[str, Any] = {"vocabulary": inspect_vocabulary(tokenizer), "parallel": None}
    if parallel_uri:
        about["parallel"] = compare_languages(parallel_of(storage.read_bytes(parallel_uri)), count)
    about["never_from_text"] = sorted(tokenizer.control)
    about["ids"] = sorted(tokenizer.spellings)
    out.open("about", ".json").write(json.dumps(about, sort_keys=True).encode())
    return {}


def _described(
    counts: Mapping[str, Any], uses: npt.NDArray[np.int64], about: Mapping[str, Any], *, min_uses: int
) -> dict[str, Any]:
    known = np.zeros(uses.size, np.bool_)
    known[about["ids"]] = True
    known[about["never_from_text"]] = False
    own = uses[known]
    return {
        "vocabulary": about["vocabulary"],
        "parallel": about["parallel"],
        "uses": {
            "tokens": int(uses.sum()), "entries": int(own.size), "never": int((own == 0).sum()),
            "rare": int((own < min_uses).sum()), "min_uses": min_uses,
        },
        "all": _with_rates(counts[ALL][ALL]),
        "groups": {
            column: {value: _with_rates(sums) for value, sums in sorted(values.items())}
            for column, values in sorted(counts.items())
            if column != ALL
        },
    }  # fmt: skip


def _with_rates(sums: Mapping[str, int]) -> dict[str, Any]:
    return {**sums, **rates(sums)}


def _added(left: npt.NDArray[np.int64], right: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return right if not left.size else left + right


def _bundles(documents: Sequence[Built]) -> list[tuple[str, ...]]:
    """The document files, in order, in bundles of about BUNDLE_BYTES."""
    bundles: list[list[str]] = []
    room = 0
    for built in documents:
        sizes = {entry["path"]: int(entry["bytes"]) for entry in built.manifest["files"]}
        for part in built.parts():
            size = sizes[f"kept/{storage.basename(part.uri)}"]
            if not bundles or size > room:
                bundles.append([])
                room = BUNDLE_BYTES
            bundles[-1].append(part.uri)
            room -= size
    return [tuple(bundle) for bundle in bundles]
