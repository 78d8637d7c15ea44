"""The makers that train on mixtures: `SmokeTrain`, one run and `smoke.json`; `SmokeVerdict`, runs by seeds, compared.

They tie `model_smoke`, which reads plain directories and knows nothing of artifacts, to the engine. A mixture must lie on
a mounted filesystem, seen by every worker: the loader maps its files.
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from model_smoke.backend import choose_backend
from model_smoke.held_out import RULE, HeldOutDocument, choose_held_out
from model_smoke.record import Progress, RunRecord
from model_smoke.sources import OpenMixture, open_mixture
from model_smoke.training import Resume, TrainOptions, train
from model_smoke.verdict import NOT_DECIDED, Verdict, compare
from pipelines import storage
from pipelines.artifact import Built
from pipelines.errors import ConfigError, InputError
from pipelines.executors import Needs
from pipelines.passes import Passes, Silent
from pipelines.recipes.smoke_page import smoke_page
from pipelines.shards import ShardOutput
from pipelines.tokens import TokenSource, npy_bytes

PLAIN_SECONDS = 5.0
CHECKPOINT_EVERY = 100
FORMAT = 2


@dataclass(frozen=True, kw_only=True)
class SmokeTrain:
    """One run on the mixture, on the CPU: can it be learned from? `eval_tokens` bounds the held-out text it is judged by."""

    options: TrainOptions = field(default_factory=TrainOptions)
    eval_tokens: int = 16_384
    version: ClassVar[int] = 2
    libraries: ClassVar[tuple[str, ...]] = ("torch", "numpy")

    def make(self, inputs: tuple[Built, ...], passes: Passes) -> None:
        """Train, then put `smoke.json`. InputError for a mixture in an object store, or one that holds nothing out."""
        (mixture,) = inputs
        opened = open_mixture(_local(mixture))
        held_out = choose_held_out([opened], max_tokens=self.eval_tokens)
        record, speed = train(opened, self.options, held_out.documents, on_step=_teller(passes, mixture.name))
        summary = summarize(record, held_out_share=opened.held_out)
        passes.put("smoke.json", _json_bytes(summary))
        passes.note("smoke", {key: summary[key] for key in ("healthy", "bits_per_byte")})
        passes.note("speed", speed.as_json())


@dataclass(frozen=True, kw_only=True)
class RunShard:
    """One run: a mixture, by its place among the inputs, and a seed."""

    name: str
    mixture: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class SmokeVerdict:
    """Inputs: one mixture or two (`num_mixtures`), then token artifacts to judge by, if any.

    `seeds` runs a mixture; where that does not decide, twice as many and so on, up to `max_seeds`. `level` is the chance to
    call two equal mixtures different. With one mixture there is health and no verdict.
    """

    options: TrainOptions = field(default_factory=TrainOptions)
    num_mixtures: int = 1
    seeds: int = 3
    max_seeds: int = 3
    level: float = 0.05
    eval_tokens: int = 32_768
    backend: str = "auto"
    device: str = "cpu"
    version: ClassVar[int] = 1
    libraries: ClassVar[tuple[str, ...]] = ("torch", "numpy")

    def __post_init__(self) -> None:
        if self.num_mixtures not in (1, 2):
            raise ConfigError(f"num_mixtures = {self.num_mixtures}: one mixture is looked at, or two are compared")
        if self.seeds < 1 or self.max_seeds < self.seeds:
            raise ConfigError(f"seeds = {self.seeds}, max_seeds = {self.max_seeds}: give 1 <= seeds <= max_seeds")
        if not 0 < self.level < 1:
            raise ConfigError(f"level = {self.level}: give a chance in (0, 1)")
        if self.eval_tokens < 1:
            raise ConfigError(f"eval_tokens = {self.eval_tokens}: give at least 1")

    def looks(self) -> tuple[int, ...]:
        """After how many seeds a verdict is tried: `seeds`, twice as many and so on, and `max_seeds`."""
        found = [self.seeds]
        while found[-1] < self.max_seeds:
            found.append(min(2 * found[-1], self.max_seeds))
        return tuple(found)

    def make(self, inputs: tuple[Built, ...], passes: Passes) -> None:
        """Train, look, perhaps train more; then put `verdict.json`, `report.html`, and a record and bits of each run."""
        built, given = inputs[: self.num_mixtures], inputs[self.num_mixtures :]
        mixtures = [open_mixture(_local(each)) for each in built]
        if len({mixture.sequence_length for mixture in mixtures}) > 1:
            lengths = {label: each.sequence_length for label, each in zip(_labels(built), mixtures, strict=True)}
            raise ConfigError(f"the mixtures have sequences of different lengths: {lengths}; mix them with one")
        artifacts = [(each.name, TokenSource(_local(each))) for each in given]
        held_out = choose_held_out(mixtures, max_tokens=self.eval_tokens, given=artifacts)
        documents = with_names(held_out.documents)
        shown = [{k: v for k, v in document.as_json().items() if k != "places"} for document in documents]
        passes.put("held_out.json", _json_bytes({"format": 1, "documents": shown, "left_out": dict(held_out.left_out)}))
        work = partial(
            run_one,
            mixtures=tuple(str(mixture.directory) for mixture in mixtures),
            documents=documents,
            options=self.options,
            backend=self.backend,
            device=self.device,
            checkpoints=str(Path(storage.path_of(passes.directory)) / "work" / "checkpoints"),
            tell=not isinstance(passes.progress, Silent),
        )
        on_gpu = self.device.startswith("cuda")
        verdict, runs = None, {}
        for number in self.looks():
            shards = [
                RunShard(name=f"{'ab'[mixture]}-seed{seed:03d}", mixture=mixture, seed=self.options.seed + seed)
                for seed in range(number)
                for mixture in range(self.num_mixtures)
            ]
            done = passes.run("runs", work, shards, needs=Needs(gpus=1.0 if on_gpu else 0.0))
            runs = {each.shard: _read_run(each.path("runs", ".json"), each.path("bits", ".npy")) for each in done}
            verdict = self._verdict(runs, documents, _labels(built))
            if verdict is None or verdict.outcome != NOT_DECIDED:
                break
        passes.deterministic = passes.deterministic and all(run.deterministic for run in runs.values())
        for name, run in sorted(runs.items()):
            passes.put(f"runs/{name}.json", _json_bytes(name_spikes(run, mixtures["ab".index(name[0])])))
            passes.put(f"bits/{name}.npy", npy_bytes(run.bits_after))
        failed = [name for name, run in sorted(runs.items()) if not run.health["healthy"]]
        record = {
            "format": FORMAT,
            "mixtures": {"ab"[n]: label for n, label in enumerate(_labels(built))},
            "healthy": not failed,
            "unhealthy_runs": {name: list(runs[name].health["problems"]) for name in failed},
            "runs": sorted(runs),
            "held_out": {"documents": len(documents), "left_out": dict(held_out.left_out), "given": bool(given)},
            "verdict": None if verdict is None else verdict.as_json(),
        }
        passes.put("verdict.json", _json_bytes(record))
        passes.put("report.html", smoke_page(record, {n: r.as_json() for n, r in sorted(runs.items())}).encode())
        passes.note("smoke", {"healthy": not failed, "sentence": verdict.sentence() if verdict else ""})
        passes.note("speed", {each.shard: each.counts["speed"] for each in done})

    def _verdict(
        self, runs: Mapping[str, RunRecord], documents: Sequence[HeldOutDocument], labels: Sequence[str]
    ) -> Verdict | None:
        """None for one mixture, or where no seed gave finite bits on both sides. Runs that came to nothing are left out with
        their pairs: A and B of a seed share initial weights and order.
        """
        if self.num_mixtures < 2:
            return None
        sides: tuple[list[npt.NDArray[np.float64]], list[npt.NDArray[np.float64]]] = ([], [])
        for name in sorted(name.removeprefix("a-") for name in runs if name.startswith("a-")):
            pair = [runs[f"{letter}-{name}"].bits_after for letter in "ab"]
            if all(np.isfinite(bits).all() for bits in pair):
                for side, bits in zip(sides, pair, strict=True):
                    side.append(bits)
        if not sides[0]:
            return None
        names = (f"A ({labels[0]})", f"B ({labels[1]})")
        a, b = (np.stack(side) for side in sides)
        looks = len(self.looks())
        return compare(a, b, documents, names=names, level=self.level, looks=looks, paired=True, seed=self.options.seed)


def run_one(
    shard: RunShard,
    out: ShardOutput,
    *,
    mixtures: Sequence[str],
    documents: Sequence[HeldOutDocument],
    options: TrainOptions,
    backend: str,
    device: str,
    checkpoints: str,
    tell: bool,
) -> dict[str, Any]:
    """One run: `runs/<shard>.json` and `bits/<shard>.npy`, float64 [2, documents], before and after."""
    mixture = open_mixture(mixtures[shard.mixture])
    record, speed = train(
        mixture,
        replace(options, seed=shard.seed),
        documents,
        backend=choose_backend(backend, device),
        resume=Resume(path=Path(checkpoints) / f"{shard.name}.npz", every=CHECKPOINT_EVERY),
        on_step=Teller(shard.name) if tell else None,
    )
    out.open("runs", ".json").write(_json_bytes(record.as_json()))
    out.open("bits", ".npy").write(npy_bytes(np.stack([record.bits_before, record.bits_after])))
    return {"tokens": record.trained_tokens, "speed": speed.as_json()}


class Teller:
    """Says on stderr, every few seconds and at the end, how a run stands."""

    def __init__(self, label: str) -> None:
        self.label, self._said = label, time.monotonic()

    def __call__(self, progress: Progress) -> None:
        """One step is done."""
        if time.monotonic() - self._said >= PLAIN_SECONDS or progress.step == progress.steps:
            self._said = time.monotonic()
            print(f"{self.label}: {progress.line()}", file=sys.stderr)


def _teller(passes: Passes, label: str) -> Teller | None:
    return None if isinstance(passes.progress, Silent) else Teller(label)


def summarize(record: RunRecord, *, held_out_share: float) -> dict[str, Any]:
    """`smoke.json`: what a report shows of one run."""
    before, after = record.evaluation["before"], record.evaluation["after"]
    components = {
        name: {
            "before": before["domains"][name]["bits_per_byte"],
            "after": part["bits_per_byte"],
            "documents": part["documents"],
            "bytes": part["bytes"],
        }
        for name, part in after["domains"].items()
    }
    return {
        "format": FORMAT,
        "model": dict(record.model),
        "steps": len(record.losses),
        "batch_size": record.options["batch_size"],
        "sequence_length": record.sequence_length,
        "trained_tokens": record.trained_tokens,
        "epochs": dict(record.epochs),
        "losses": [round(loss, 6) for loss in record.losses],
        "bits_per_byte": {"before": before["all"], "after": after["all"], "components": components},
        "held_out": {"share": held_out_share, "rule": RULE},
        "healthy": record.health["healthy"],
        "health": dict(record.health),
        "backend": dict(record.backend),
        "options": dict(record.options),
    }


def with_names(documents: Iterable[HeldOutDocument]) -> tuple[HeldOutDocument, ...]:
    """The documents with their name (source/id) and language, from the token artifacts' tables."""
    documents = tuple(documents)
    wanted: dict[str, set[int]] = defaultdict(set)
    for document in documents:
        place = next(iter(document.places.values()))
        wanted[place.directory].add(place.ordinal)
    rows = {folder: names_of(TokenSource(folder), ordinals) for folder, ordinals in sorted(wanted.items())}
    named = []
    for document in documents:
        place = next(iter(document.places.values()))
        row = rows[place.directory].get(place.ordinal, {})
        name = f"{row['source']}/{row['id']}" if {"source", "id"} <= row.keys() else None
        named.append(replace(document, name=name, language=row.get("language")))
    return tuple(named)


def names_of(source: TokenSource, ordinals: Iterable[int]) -> dict[int, dict[str, Any]]:
    """{ordinal: {source, id, language}} of some documents; empty where the artifact brings no table."""
    by_shard: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for ordinal in sorted(ordinals):
        shard, row = source.place(ordinal)
        by_shard[shard].append((ordinal, row))
    found: dict[int, dict[str, Any]] = {}
    for shard, pairs in sorted(by_shard.items()):
        uri = storage.join(str(source.directory), "documents", f"{shard}.parquet")
        if not storage.exists(uri):
            continue
        columns = [name for name in ("source", "id", "language") if name in storage.read_schema(uri).names]
        table = storage.read_table(uri, columns).take([row for _, row in pairs]).to_pylist()
        found |= {ordinal: row for (ordinal, _), row in zip(pairs, table, strict=True)}
    return found


def name_spikes(run: RunRecord, mixture: OpenMixture) -> dict[str, Any]:
    """The run's JSON, its spikes' documents with their ids."""
    record = run.as_json()
    health = dict(record["health"])
    sources = {part.name: part.source for part in mixture.components}
    wanted: dict[str, set[int]] = defaultdict(set)
    for spike in health["spikes"]:
        for document in spike["documents"]:
            wanted[document["source"]].add(document["document"])
    rows = {name: names_of(sources[name], ordinals) for name, ordinals in sorted(wanted.items())}
    health["spikes"] = [
        spike | {"documents": [each | rows[each["source"]].get(each["document"], {}) | {"component": each["source"]}
                               for each in spike["documents"]]}
        for spike in health["spikes"]
    ]  # fmt: skip
    return record | {"health": health}


def _read_run(record: str, bits: str) -> RunRecord:
    array: npt.NDArray[np.float64] = np.load(storage.path_of(bits), allow_pickle=False)
    return RunRecord.from_json(json.loads(storage.read_bytes(record)), bits_before=array[0], bits_after=array[1])


def _labels(built: Sequence[Built]) -> tuple[str, ...]:
    return tuple(f"{each.name}/{each.fingerprint[:8]}" for each in built)


def _local(built: Built) -> str:
    if not storage.is_local(built.uri):
        raise InputError(f"{built.uri}: a smoke run maps its tokens; copy the root to a mounted filesystem")
    return storage.path_of(built.uri)


def _json_bytes(record: Mapping[str, Any]) -> bytes:
    return (json.dumps(record, indent=1, sort_keys=True) + "\n").encode()
