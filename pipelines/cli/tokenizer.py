"""`eyas tokenizer`: train tokenizers on artifacts, evaluate them beside any others, compare ways to split text.

stdout: what was learned, or the table of an evaluation, or JSON. No name is ever looked up on a network: a tokenizer is an
artifact, a file, or a name whose `tokenizer.json` lies in the local cache of the Hugging Face hub.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache

from pipelines import manifest as manifests
from pipelines import storage
from pipelines.artifact import Artifact, BuildOptions, Built, Existing, build_all, quote_command
from pipelines.cli import tables
from pipelines.cli.build import add_executor, executor_of
from pipelines.cli.locate import Located, locate
from pipelines.cli.progress import progress_for_terminal
from pipelines.errors import ConfigError, InputError
from pipelines.fingerprint import File
from pipelines.pipeline import parse_like
from pipelines.recipes.tokenizer_page import rate, share, tokenizer_page
from tokenizer_training.evaluate import EvaluateTokenizers, TokenizerFile
from tokenizer_training.ladder import pick_tokenizer
from tokenizer_training.recipe import load_recipe, named_recipes, with_fields
from tokenizer_training.split_patterns import NAMED
from tokenizer_training.train import TrainTokenizer

HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+|[\w.-]+")
LABELLED = re.compile(r"(?P<label>[^=/\\]{1,100})=(?P<place>.+)", re.DOTALL)


def add(subparsers: Any) -> None:
    """Add the parsers of `tokenizer train`, `evaluate` and `ablate`."""
    parser = subparsers.add_parser(
        "tokenizer",
        help="train tokenizers, evaluate them, compare ways to split text",
        description="Train tokenizers on documents, evaluate them beside others, compare ways to split text.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    made = [_add_train(verbs), _add_evaluate(verbs), _add_ablate(verbs)]
    parser.epilog = "\n".join(each.format_usage() for each in made)


def _add_train(verbs: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(
        "train",
        help="train a tokenizer, or a ladder of several sizes",
        description="Train RECIPE on the documents of the artifacts. Several sizes come out of one run, each a prefix of the next, "
        "and each becomes an artifact of its own. Running it again resumes.",
        epilog="Example: eyas tokenizer train falcon-h1 --input corpus/web-unique corpus/code-unique --root corpus",
    )
    parser.add_argument(
        "recipe", nargs="?", metavar="RECIPE", help=f"{', '.join(named_recipes())}, or a .toml file (default: the maker's defaults)"
    )  # fmt: skip
    _add_input(parser)
    parser.add_argument("--root", required=True, help="directory or URI under which artifacts are written")
    parser.add_argument("--name", default="", help="name of the artifact (default: that of the recipe, or tokenizer)")
    parser.add_argument("--vocab-size", type=int, nargs="+", metavar="N", help="entries; several are a ladder")
    parser.add_argument("--pattern", choices=tuple(NAMED), help="what is split (default: both)")
    parser.add_argument(
        "--weight",
        action="append",
        default=[],
        metavar="SOURCE=W",
        help="count the text of a source W times; may be repeated",
    )
    parser.add_argument("--temperature", type=float, help="evens out languages: 1 as they are, up to 100")
    parser.add_argument(
        "--set", action="append", default=[], metavar="field=value", help="another field; may be repeated"
    )
    parser.add_argument("--json", action="store_true", help="print the manifest as JSON")
    add_executor(parser)
    parser.set_defaults(run=train)
    return parser


def _add_evaluate(verbs: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(
        "evaluate",
        help="what tokenizers do to documents, by language, code language and LaTeX",
        description="Evaluate every TOKENIZER on the same documents: an artifact of `tokenizer train` (each of its sizes), a "
        "tokenizer.json, a folder with one, or a name in the local cache of the hub; LABEL=PATH names it.",
        epilog="Example: eyas tokenizer evaluate corpus/falcon-h1 other=other/tokenizer.json --input corpus/judge-unique",
    )
    parser.add_argument("tokenizers", nargs="+", metavar="TOKENIZER", help="an artifact, LABEL=PATH, or a cached name")
    _add_input(parser)
    parser.add_argument(
        "--parallel", metavar="FILE", help="parallel text, JSON lines of {language: [sentence, ...]}: parity, Gini"
    )
    parser.add_argument("--pivot", default="en", help="language the others are compared with (default: en)")
    parser.add_argument(
        "--group-by",
        nargs="+",
        metavar="COLUMN",
        help="columns of the documents (default: source language code_language)",
    )
    parser.add_argument(
        "--min-uses", type=int, default=10, help="a token used less often than this is rare (default: 10)"
    )
    parser.add_argument("--root", help="where the result is written (default: the root of the first input)")
    parser.add_argument("--html", metavar="FILE", help="where the page goes (default: tokenizers.html in a local root)")
    parser.add_argument("--json", action="store_true", help="print evaluation.json")
    add_executor(parser)
    parser.set_defaults(run=evaluate)
    return parser


def _add_ablate(verbs: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(
        "ablate",
        help="split patterns by size of corpus, judged by a small model's bits per byte",
        description="Train a tokenizer for every pattern and share of the documents, tokenize the same documents with each, train "
        "a small model on each and compare bits per byte on held-out documents, since compression alone misleads.",
        epilog="Example: eyas tokenizer ablate --input corpus/web-unique --root corpus --patterns none both --shares 0.1 1",
    )
    _add_input(parser)
    parser.add_argument("--root", required=True, help="folder under which artifacts are written")
    parser.add_argument("--patterns", nargs="+", choices=tuple(NAMED), default=list(NAMED), help="default: all six")
    parser.add_argument(
        "--shares", type=float, nargs="+", default=[1.0], help="shares of the documents to train on (default: 1)"
    )
    parser.add_argument("--vocab-size", type=int, default=4096, help="entries of every tokenizer (default: 4096)")
    parser.add_argument("--num-reserved", type=int, default=64, help="reserved ids of every tokenizer (default: 64)")
    parser.add_argument("--size", default="tiny", help="size of the model, as of `eyas smoke` (default: tiny)")
    parser.add_argument("--train-bytes", type=int, default=1_000_000, help="text each model reads (default: 1000000)")
    parser.add_argument("--seeds", type=int, default=3, help="runs a tokenizer (default: 3)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_executor(parser)
    parser.set_defaults(run=ablate)
    return parser


def _add_input(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--input",
        nargs="+",
        required=True,
        metavar="ARTIFACT",
        help="document artifacts: ROOT/NAME/FINGERPRINT, or ROOT/NAME where only one is finished",
    )


def train(arguments: argparse.Namespace) -> int:
    """Train, pick every size, print what was learned."""
    name, maker = _maker(arguments)
    trained = Artifact(name=name, maker=maker, inputs=_inputs(arguments.input))
    picked = [pick_tokenizer(trained, size) for size in maker.vocab_sizes if len(maker.vocab_sizes) > 1]
    built = build_all((trained, *picked), _options(arguments, str(arguments.root)))
    note = built[0].manifest["notes"]["tokenizer"]
    if arguments.json:
        print(json.dumps(dict(built[0].manifest), indent=1, sort_keys=True))
        return 0
    rungs = note["ladder"]
    rows = [
        (made.uri, rung["asked_vocab_size"], rung["vocab_size"], rung["padded_vocab_size"], rung["num_merges"])
        for made, rung in zip(built[1:] or built, rungs, strict=True)
    ]
    tables.print_table(("tokenizer", "asked", "entries", "rows of the embedding", "merges"), rows)
    beyond = ", beyond 32 bits" if note["beyond_32_bits"] else ""
    print(
        f"{note['num_documents']:,} documents, {note['num_bytes']:,} bytes, {note['num_distinct_pretokens']:,} distinct "
        f"pre-tokens; largest pair count {note['largest_pair_count']:,}{beyond}"
    )
    if any(rung["exhausted"] for rung in rungs):
        tables.note("The text was too small for some of the sizes: no pair was left to merge.")
    return 0


def _maker(arguments: argparse.Namespace) -> tuple[str, TrainTokenizer]:
    maker, name = TrainTokenizer(), "tokenizer"
    if arguments.recipe is not None:
        maker = load_recipe(arguments.recipe)
        name = re.sub(r"[^a-z0-9.-]+", "-", Path(arguments.recipe).name.removesuffix(".toml").lower()).strip(".-")
    values: dict[str, Any] = {}
    if arguments.vocab_size is not None:
        sizes = arguments.vocab_size
        values |= {"vocab_size": sizes[0]} if len(sizes) == 1 else {"vocab_sizes": sizes}
    for field in ("pattern", "temperature"):
        if getattr(arguments, field) is not None:
            values[field] = getattr(arguments, field)
    if arguments.weight:
        values["weights"] = _weights(arguments.weight)
    for setting in arguments.set:
        field, equals, text = setting.partition("=")
        where = f"--set {setting!r}"
        if not equals:
            raise ConfigError(f"{where}: expected field=value")
        if field in ("weights", "vocab_sizes"):
            raise ConfigError(f"{where}: use --weight or --vocab-size")
        known = field in maker.__dataclass_fields__
        values[field] = parse_like(getattr(maker, field), text, where) if known else text
    maker = with_fields(maker, values, where="the flags") if values else maker
    return arguments.name or name or "tokenizer", maker


def _weights(given: Sequence[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for text in given:
        source, equals, weight = text.rpartition("=")
        if not equals or source in found:
            raise ConfigError(f"--weight {text!r}: expected SOURCE=NUMBER, each source once")
        found[source] = float(str(parse_like(0.0, weight, f"--weight {text!r}")))
    return found


def evaluate(arguments: argparse.Namespace) -> int:
    """Evaluate, write the page, print the summary."""
    artifacts: list[Located] = []
    files: list[TokenizerFile] = []
    for text in arguments.tokenizers:
        given = open_tokenizer(text)
        if isinstance(given, TokenizerFile):
            files.append(given)
        else:
            artifacts.append(given)
    documents = [locate(text) for text in arguments.input]
    for located in artifacts:
        if located.maker not in ("TrainTokenizer", "PickTokenizer"):
            raise InputError(
                f"{located.label} is no tokenizer (it was made by {located.maker}); documents go to --input"
            )
    given_columns = {"group_by": tuple(arguments.group_by)} if arguments.group_by else {}
    maker = EvaluateTokenizers(
        num_tokenizers=len(artifacts),
        files=tuple(files),
        parallel=File(arguments.parallel) if arguments.parallel else None,
        pivot=arguments.pivot,
        min_uses=arguments.min_uses,
        **given_columns,
    )
    inputs = tuple(Existing(uri=located.directory) for located in (*artifacts, *documents))
    root = str(arguments.root or documents[0].root)
    artifact = Artifact(name="tokenizer-evaluation", maker=maker, inputs=inputs)
    (built,) = build_all((artifact,), _options(arguments, root))
    record = json.loads(storage.read_bytes(storage.join(built.uri, "evaluation.json")))
    page = arguments.html or (str(Path(storage.path_of(root)) / "tokenizers.html") if storage.is_local(root) else "")
    if page:
        Path(page).write_text(tokenizer_page(record), "utf-8")
    if arguments.json:
        tables.print_json(record)
        return 0
    _show(record, built)
    if page:
        print(f"Page: {page}")
    return 0


def open_tokenizer(text: str) -> Located | TokenizerFile:
    """What `text` names: a file, an artifact, or a name in the local cache. InputError, saying what can be given."""
    match = LABELLED.fullmatch(text)
    if match is not None and not Path(text).exists():
        found = open_tokenizer(match["place"])
        if isinstance(found, TokenizerFile):
            return TokenizerFile(label=match["label"], file=found.file)
        raise ConfigError(f"{text}: an artifact has its own name; give a label to a tokenizer.json only")
    path = Path(text)
    if path.is_file() and path.name != manifests.NAME:
        return TokenizerFile(label=_label(path), file=File(text))
    if (path / "tokenizer.json").is_file() and not (path / manifests.NAME).is_file():
        return TokenizerFile(label=_label(path / "tokenizer.json"), file=File(str(path / "tokenizer.json")))
    if not path.exists() and storage.is_local(text) and HUB_NAME.fullmatch(text):
        cached = try_to_load_from_cache(text, "tokenizer.json") if text.count("/") < 2 else None
        if isinstance(cached, str):
            return TokenizerFile(label=text, file=File(cached))
        raise InputError(
            f"{text}: no artifact and no file here, and no tokenizer.json of that name in the local cache (nothing is downloaded); "
            "give the path of a tokenizer.json"
        )
    return locate(text)


def _label(path: Path) -> str:
    """The folder a `tokenizer.json` lies in, or the file's own name where it has one."""
    return path.resolve().parent.name if path.name == "tokenizer.json" else path.name.removesuffix(".json")


def _show(record: dict[str, Any], built: Built) -> None:
    rows = []
    for entry in record["tokenizers"]:
        sums, about, parallel = entry["all"], entry["vocabulary"], entry["parallel"]
        rows.append(
            (
                entry["label"], about["vocab_size"], rate(sums["bytes_per_token"]), rate(sums["fertility"]),
                share(sums["continued"]), rate(parallel["gini"]) if parallel else "", about["unreachable"]["tokens"],
                entry["uses"]["rare"], f"{about['digits']['exact']}/{about['digits']['tried']}",
                f"{about['latex']['exact']}/{about['latex']['tried']}", sums["failures"],
            )
        )  # fmt: skip
    headings = (
        "tokenizer", "entries", "bytes/token", "fertility", "continued", "Gini", "unreachable", "rare", "digits", "LaTeX",
        "round trips failed",
    )  # fmt: skip
    tables.print_table(headings, rows)
    by_language = [e["groups"]["language"] for e in record["tokenizers"] if "language" in e["groups"]]
    if by_language:
        names = [entry["label"] for entry in record["tokenizers"]]
        lines = [
            (language, *(rate(own.get(language, {}).get("bytes_per_token")) for own in by_language))
            for language in by_language[0]
        ]
        print()
        tables.print_table(("bytes per token", *names), lines)
    print(f"\n{storage.join(built.uri, 'evaluation.json')}")


def ablate(arguments: argparse.Namespace) -> int:
    """Build every tokenizer, mixture and run; print bits per byte beside compression."""
    # torch takes seconds to import, and no other verb needs it
    from pipelines.recipes.tokenizer_ablation import Ablation, ablation_record

    root = str(arguments.root)
    if not storage.is_local(root):
        raise ConfigError(f"--root {root!r}: the small models map their tokens; name a folder that every worker mounts")
    ablation = Ablation(
        patterns=tuple(arguments.patterns),
        shares=tuple(arguments.shares),
        vocab_size=arguments.vocab_size,
        num_reserved=arguments.num_reserved,
        size=arguments.size,
        train_bytes=arguments.train_bytes,
        seeds=arguments.seeds,
    )
    record = ablation_record(ablation, _inputs(arguments.input), _options(arguments, root))
    if arguments.json:
        tables.print_json(record)
        return 0
    rows = [
        (
            row["pattern"], f"{row['share']:g}", f"{row['train_bytes']:,}", row["vocab_size"], f"{row['bytes_per_token']:.3f}",
            f"{row['bits_per_byte']:.4f}", f"{row['lowest']:.4f} to {row['highest']:.4f}",
        )
        for row in record["rows"]
    ]  # fmt: skip
    tables.print_table(
        ("pattern", "share", "tokenizer read", "entries", "bytes/token", "bits per byte", "over seeds"), rows
    )
    print(record["note"])
    return 0


def _inputs(given: Sequence[str]) -> tuple[Existing, ...]:
    found = [locate(text) for text in given]
    for located in found:
        if not located.parts("kept"):
            raise InputError(f"{located.label}: no kept documents in it; give artifacts of documents")
    return tuple(Existing(uri=located.directory) for located in found)


def _options(arguments: argparse.Namespace, root: str) -> BuildOptions:
    if not root.strip():
        raise ConfigError("--root is empty; name the directory or URI under which artifacts are written")
    return BuildOptions(
        root=root,
        executor=executor_of(arguments),
        progress=progress_for_terminal(),
        resume_command=quote_command(["eyas", *sys.argv[1:]]),
    )
