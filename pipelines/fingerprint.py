"""What a thing is, as canonical JSON, and the hash of that: identity, never execution.

A fingerprint covers everything that changes bytes: kinds, integer versions, fields, rules, checksums of inputs and of the
files a stage uses, versions of the libraries whose behaviour a stage exports. It never covers paths, hosts, worker
counts or the time, so the same work has the same fingerprint on a laptop and on a cluster.

>>> fingerprint({"b": 1, "a": (1, 2)}) == fingerprint({"a": [1, 2], "b": 1})
True
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import sys
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from pipelines.errors import ConfigError
from pipelines.rules import ByAttribute, Rule, to_json

OUR_PACKAGES = ("pipelines", "filters", "tokenizer_training", "synthetic", "mixtures", "model_smoke")
REPOSITORY = Path(__file__).resolve().parents[1]
SHORT = 12
"""Hex digits of a fingerprint in a directory name: 48 bits, no collision expected below millions of artifacts a root."""


@dataclass(frozen=True)
class File:
    """A file that a stage uses. Its identity is its bytes: moving it rebuilds nothing, editing it does.

    Raises ConfigError at construction where the file is not there, so that a build fails on the driver.
    """

    path: str

    def __post_init__(self) -> None:
        if not Path(self.path).is_file():
            raise ConfigError(f"no file at {self.path!r}; give the path of a readable file")

    def identity(self) -> dict[str, object]:
        """Size and sha256 of the content."""
        with Path(self.path).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return {"kind": "File", "size": file.tell(), "sha256": digest}


def identity(thing: object, *, where: str = "") -> Any:
    """Plain JSON of everything about `thing` that changes bytes.

    An object's own `identity()` wins. A dataclass is its class name, `version` and fields; where it names `libraries`
    their versions, where it sets `uses_unicode_tables` Python's Unicode version, and where its class is a user's own
    the hash of its module and those beside it, since nobody keeps an integer version for those. Raises ConfigError naming the
    field for anything that is not plain data.
    """
    if isinstance(thing, Rule):
        return to_json(thing)
    own = getattr(thing, "identity", None)
    if callable(own) and not isinstance(thing, type):
        return own()
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        return _dataclass_identity(thing, where=where)
    if isinstance(thing, Mapping):
        return {str(key): identity(value, where=f"{where}.{key}") for key, value in thing.items()}
    if isinstance(thing, frozenset | set):
        return sorted((identity(item, where=where) for item in thing), key=canonical)
    if isinstance(thing, tuple | list):
        return [identity(item, where=f"{where}[{i}]") for i, item in enumerate(thing)]
    if thing is None or isinstance(thing, str | int | bool):
        return thing
    if isinstance(thing, float) and math.isfinite(thing):
        return thing
    raise ConfigError(
        f"{where or 'value'} = {thing!r} cannot be part of a fingerprint; use finite numbers, strings, tuples, frozensets, "
        "dataclasses of these, or File(path)"
    )


def _dataclass_identity(thing: Any, *, where: str) -> dict[str, object]:
    kind = type(thing)
    place = f"{where}.{kind.__name__}" if where else kind.__name__
    fields = {f.name: identity(getattr(thing, f.name), where=f"{place}.{f.name}") for f in dataclasses.fields(thing)}
    result: dict[str, object] = {"kind": kind.__name__, "version": getattr(thing, "version", 1), "fields": fields}
    if isinstance(thing, ByAttribute):
        return result
    if "name" not in fields and isinstance(getattr(thing, "name", None), str):
        result["name"] = thing.name
    libraries = getattr(thing, "libraries", ())
    if libraries:
        result["libraries"] = {name: library_version(name) for name in libraries}
    if getattr(thing, "uses_unicode_tables", False):
        result["unidata_version"] = unicodedata.unidata_version
    if not _is_ours(kind):
        result["code"] = _code_hash(kind)
    return result


def _is_ours(kind: type) -> bool:
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    return file is not None and Path(file).resolve().is_relative_to(REPOSITORY) and _package_of(kind) in OUR_PACKAGES


def _package_of(kind: type) -> str:
    return kind.__module__.split(".")[0]


def _code_hash(kind: type) -> str:
    """sha256 over the source of a user's class's module and of every loaded module beside it.

    Helpers and constants change bytes as much as methods do. Modules of an installed distribution stand alone: beside
    them lies everything else that is installed. Raises ConfigError where no source can be read.
    """
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    if file is None or not Path(file).is_file():
        raise ConfigError(
            f"{kind.__name__}: its source cannot be read, so a change to it would go unnoticed; define it in a .py file"
        )
    own = Path(file).resolve()
    sources = {own}
    if not {"site-packages", "dist-packages"} & set(own.parts):
        loaded = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
        sources |= {path for name in loaded if name for path in [Path(name).resolve()] if path.parent == own.parent}
    digests = sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in sources if path.suffix == ".py")
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def library_version(name: str) -> str:
    """The installed version of distribution `name`; ConfigError, with the cure, where it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        raise ConfigError(f"the library {name!r} is not installed; `pip install {name}` and try again") from None


def canonical(data: object) -> str:
    """JSON with sorted keys and no spaces; NaN and infinity are refused."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def fingerprint(thing: object) -> str:
    """sha256 (64 hex digits) of the canonical JSON of `identity(thing)`."""
    return hashlib.sha256(canonical(identity(thing)).encode()).hexdigest()


def seed_for(root_seed: int, *names: str) -> int:
    """A 63-bit seed made of names, so that inserting a component reseeds nothing else.

    >>> seed_for(1, "web", "sample") == seed_for(1, "web", "sample") != seed_for(1, "web", "mix")
    True
    """
    text = canonical([root_seed, *names])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
