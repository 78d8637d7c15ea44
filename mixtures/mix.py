"""The maker that mixes: token artifacts in, `mixture.json` out. No token is copied: the loader reads the sources in place.

`mixture.json` says for every component where its tokens lie below the root, what weight the loader gives it, what was
planned, and what is in it by language and source. The weights it hands the loader are planned tokens.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mixtures.apportioning import Available, Planned, apportion, memorization_window_tokens, repetition_warnings
from mixtures.mixture import FORMAT, Mixture
from mixtures.tree import render_tree
from pipelines import storage
from pipelines.artifact import Built
from pipelines.counting import add_counts
from pipelines.errors import ConfigError, InputError
from pipelines.passes import Passes
from pipelines.shards import PartShard, ShardOutput
from pipelines.tokens import is_held_out


@dataclass(frozen=True, kw_only=True)
class Mix:
    """Inputs: the token artifacts that the components name, in any order."""

    version: ClassVar[int] = 1
    mixture: Mixture

    def make(self, inputs: tuple[Built, ...], passes: Passes) -> None:
        """Measure what is there, apportion, write. ConfigError where inputs and components do not match."""
        found = self._inputs(inputs)
        shards = [
            PartShard(name=f"{position:03d}-{part.name}", uri=part.uri)
            for position, component in enumerate(self.mixture.components)
            for part in found[component.artifact].parts("documents")
        ]
        measured = passes.run("measure", partial(measure_part, held_out=self.mixture.held_out), shards)
        totals: dict[str, dict[str, Any]] = {component.name: {} for component in self.mixture.components}
        for commit in measured:
            name = self.mixture.components[int(commit.shard.split("-", 1)[0])].name
            totals[name] = add_counts(totals[name], commit.counts)
        available = {
            name: Available(
                tokens=counts.get("tokens", 0), documents=counts.get("documents", 0), bytes=counts.get("bytes", 0)
            )
            for name, counts in totals.items()
        }
        planned = apportion(self.mixture, available)
        record = self._record(found, totals, planned, passes.directory)
        passes.put("mixture.json", (json.dumps(record, indent=1, sort_keys=True) + "\n").encode())
        passes.note("mixture", {"tree": render_tree(record), "warnings": record["warnings"]})

    def _inputs(self, inputs: Iterable[Built]) -> dict[str, Built]:
        found = {built.name: built for built in inputs}
        named = {component.artifact for component in self.mixture.components}
        for name in sorted(named - found.keys()):
            raise ConfigError(f"the mixture names the artifact {name!r}, the inputs are {sorted(found)}")
        for name in sorted(found.keys() - named):
            raise ConfigError(f"the input {name!r} is in no component; leave it out or give it a [[component]]")
        indexes = {name: read_index(built) for name, built in sorted(found.items())}
        made_by = {name: index["tokenizer"] for name, index in indexes.items()}
        if len(set(made_by.values())) > 1:
            raise ConfigError(f"the inputs were tokenized by different tokenizers: {made_by}; tokenize them with one")
        return found

    def _record(
        self, found: Mapping[str, Built], totals: Mapping[str, Any], planned: tuple[Planned, ...], directory: str
    ) -> dict[str, Any]:
        window = memorization_window_tokens(self.mixture)
        root = storage.parent(storage.parent(directory))
        components = []
        for component, part in zip(self.mixture.components, planned, strict=True):
            built, counts = found[component.artifact], totals[component.name]
            if storage.parent(storage.parent(built.uri)) != root:
                raise InputError(f"{built.uri}: not below the root of the mixture; build both under one root")
            components.append(
                asdict(component)
                | asdict(part)
                | {
                    "fingerprint": built.fingerprint,
                    "directory": f"../../{built.name}/{storage.basename(built.uri)}",
                    "tokens": counts.get("tokens", 0),
                    "documents": counts.get("documents", 0),
                    "bytes": counts.get("bytes", 0),
                    "held_out": counts.get("held_out", {}),
                    "languages": counts.get("languages", {}),
                    "sources": counts.get("sources", {}),
                }
            )
        warnings = repetition_warnings(planned, window)
        settings = {
            k: v for k, v in asdict(self.mixture).items() if k not in ("components", "memorization_window_tokens")
        }
        return settings | {
            "format": FORMAT,
            "num_sequences": self.mixture.budget_tokens // self.mixture.sequence_length,
            "memorization_window_tokens": window,
            "components": components,
            "warnings": list(warnings),
        }


def read_index(built: Built) -> dict[str, Any]:
    """`index.json` of a token artifact. InputError where it is none."""
    uri = storage.join(built.uri, "index.json")
    if not storage.exists(uri):
        raise InputError(f"{built.name}: no index.json in {built.uri}, so it is no token artifact; tokenize it first")
    index: dict[str, Any] = json.loads(storage.read_bytes(uri))
    return index


def measure_part(part: PartShard, out: ShardOutput, *, held_out: float) -> dict[str, Any]:
    """Documents, bytes and tokens of one token shard, trained and held out, by language and source."""
    side = storage.read_table(part.uri)
    keys = _load_npy(part.uri.replace("/documents/", "/document_keys/").removesuffix(".parquet") + ".npy")
    held = is_held_out(keys, held_out)
    trained = side.filter(pa.array(~held))
    counts: dict[str, Any] = _sums(trained) | {"held_out": _sums(side.filter(pa.array(held)))}
    for column, name in (("language", "languages"), ("source", "sources")):
        if column in side.column_names:
            values = trained.column(column).fill_null("none")
            counts[name] = {
                value: _sums(trained.filter(pc.equal(values, value))) for value in sorted(values.unique().to_pylist())
            }
    return counts


def _sums(table: pa.Table) -> dict[str, int]:
    return {
        "documents": table.num_rows,
        "tokens": int(pc.sum(table.column("num_tokens")).as_py() or 0),
        "bytes": int(pc.sum(table.column("num_bytes")).as_py() or 0),
    }


def _load_npy(uri: str) -> npt.NDArray[np.uint64]:
    array: npt.NDArray[np.uint64] = np.load(io.BytesIO(storage.read_bytes(uri)), allow_pickle=False)
    return array
