"""The certificate of near dedup as `inspect` shows it: what `certificate.json` of an artifact says, in tables and in words.

Its format is that of `pipelines.makers.certificate.report`; a figure that could not be measured is null there and
"none seen" here. An artifact whose near dedup was not verified says so before anything else, and so does one that was
built on it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pipelines import storage
from pipelines.cli import tables
from pipelines.cli.certificate_charts import pair_card, removed_bars, s_curve, size_bars, tile
from pipelines.cli.locate import Located
from pipelines.cli.page import Section, text_of
from pipelines.cli.tables import percent
from pipelines.errors import InputError
from pipelines.makers.certificate.report import CERTIFICATE, FORMAT
from pipelines.makers.near.guard import sentence_of
from pipelines.makers.near.strata import LENGTHS, STRATA

WORST_SHOWN: Final = 8
LARGEST_SHOWN: Final = 5
UNDER_THE_CURVE: Final = (
    "A pair that shares no band is not seen by dedup unless another document joins the two; a pair less alike than "
    "min_jaccard is found by some bands and then, rightly, kept."
)


def read_certificate(located: Located) -> dict[str, Any] | None:
    """The certificate of an artifact, None where it has none. InputError for one this program cannot read."""
    if CERTIFICATE not in located.manifest.get("side_files", {}):
        return None
    uri = storage.join(located.built.uri, CERTIFICATE)
    try:
        found = json.loads(storage.read_bytes(uri))
    except ValueError as error:
        raise InputError(f"{uri}: not valid JSON ({error}); `eyas verify` tells what else changed") from error
    if not isinstance(found, dict) or not isinstance(found.get("format"), int):
        raise InputError(f"{uri}: not a certificate of near dedup; `eyas verify` tells what else changed")
    if found["format"] > FORMAT:
        raise InputError(f"{uri}: format {found['format']} is newer than {FORMAT}, which this eyas reads; upgrade eyas")
    return found


def warnings_of(chain: Sequence[Located]) -> list[str]:
    """What a reader must know before the figures, of the artifact (the last) and of those it was built on."""
    said = []
    for located in chain:
        note = located.manifest.get("notes", {}).get("near_dedup")
        if not isinstance(note, Mapping):
            continue
        if note.get("verified") is False:
            said.append(
                f"NOT VERIFIED: {located.label} dropped near-duplicate candidates without comparing them with their keeper "
                "(--no-verify); documents that are no duplicates may be lost"
            )
        for finding in note.get("guard") or ():
            said.append(f"GUARD LOOSENED: {located.label}: {sentence_of(finding)}")
    return said


def tables_of(certificate: Mapping[str, Any]) -> list[Section]:
    """For the terminal: recall and precision, what was removed, the strata that lost most, the largest clusters."""
    largest = [
        [entry["cluster"], entry["size"], ", ".join(_similarity(pair) for pair in entry["pairs"])]
        for entry in certificate["largest_clusters"][:LARGEST_SHOWN]
    ]
    worst = [
        [stratum, bucket, documents, removed, percent(removed / documents)]
        for stratum, bucket, documents, removed in _worst(certificate["removed"])
    ]
    return [
        ("Certificate of near dedup", ["", "estimate", "95% interval", "measured on"], _figures(certificate)),
        ("Documents by what near dedup did", ["", "documents"], _documents(certificate["documents"])),
        ("Left out of the samples", ["of", "because", "number"], [list(row) for row in _left_out(certificate)]),
        ("Removed: what lost most", ["", "bucket", "documents", "removed", "share"], worst),
        ("Largest clusters", ["cluster", "documents", "similarity of some dropped with their keeper"], largest),
    ]


def block_of(certificate: Mapping[str, Any]) -> str:
    """For the page: the same in words, with charts and pairs to look at."""
    recall, config, threshold = certificate["recall"], certificate["config"], certificate["min_jaccard"]
    parts = [
        "<section class='certificate'><h2>Certificate of near dedup</h2>",
        *(f"<p>{text_of(sentence)}</p>" for sentence in sentences(certificate)),
        f"<div class='tiles'>{_tiles(certificate)}</div>",
        "<h3>Pairs found, by how alike they are</h3>",
        s_curve(
            recall["s_curve"],
            min_jaccard=threshold,
            num_bands=config["num_bands"],
            rows_per_band=config["rows_per_band"],
        ),
        f"<p class='quiet'>{UNDER_THE_CURVE}</p>",
        "<div class='halves'>",
        *(
            f"<div><h3>Share removed, by {text_of(stratum)}</h3>{removed_bars(_in_order(stratum, buckets))}</div>"
            for stratum, buckets in sorted(certificate["removed"].items(), key=_place_of_stratum)
        ),
        "<div><h3>Clusters, by number of documents</h3>",
        size_bars(certificate["cluster_sizes"]) if certificate["cluster_sizes"] else "<p class='quiet'>no cluster</p>",
        "<p class='quiet'>bars grow with the logarithm of the number</p></div></div>",
        _pairs(
            "Dropped, though less alike than min_jaccard when compared again", certificate["precision"].get("below")
        ),
        _pairs("Recorded with a similarity that is not the one recomputed", certificate["precision"].get("deviating")),
        _largest(certificate["largest_clusters"]),
        "</section>",
    ]
    return "".join(parts)


def sentences(certificate: Mapping[str, Any]) -> list[str]:
    """Recall, precision and what was left out of them, in words."""
    recall, precision, threshold = certificate["recall"], certificate["precision"], certificate["min_jaccard"]
    said = []
    for entry in recall["at"][:1]:
        if entry["estimate"] is None:
            said.append(
                f"No pair of documents at least {entry['min_jaccard']:g} alike was seen, so there is no recall to state."
            )
            continue
        how = (
            "every document was compared with the whole corpus, so this is a count"
            if recall["is_census"]
            else f"{recall['num_queries']:,} sampled documents were compared with the whole corpus"
        )
        said.append(
            f"Recall: of all pairs of documents that are at least {entry['min_jaccard']:g} alike, {percent(entry['estimate'])} "
            f"{_interval(entry)} are resolved: not both are kept. {how[0].upper()}{how[1:]}; {entry['resolved_seen']:,} of the "
            f"{entry['pairs_seen']:,} pairs seen are resolved."
        )
    if precision["estimate"] is None:
        said.append("Precision: no dropped document was compared again.")
    else:
        said.append(
            f"Precision: of {precision['num_compared']:,} dropped documents compared again with their keeper, from the text and "
            f"by other code, {precision['reached']:,} are at least {threshold:g} alike: {percent(precision['estimate'])} "
            f"{_interval(precision)}." + _deviation(precision)
        )
    sketch = certificate.get("by_sketch") or {}
    if sketch.get("dropped"):
        said.append(
            f"Apart from these: {sketch['dropped']:,} documents were dropped for one of an earlier release, judged by its sketch"
            + (f" of {sketch['sketch_size']:,} hashes" if sketch.get("sketch_size") else "")
            + (f", with a standard error of {sketch['standard_error']:.3f}." if sketch.get("standard_error") else ".")
        )
    listed = [f"{number:,} of the {what} ({why})" for what, why, number in _left_out(certificate)]
    return [*said, f"Left out of the samples: {', '.join(listed)}."] if listed else said


def _left_out(certificate: Mapping[str, Any]) -> list[tuple[str, str, int]]:
    """What the samples were to hold and do not: of what, why, how many."""
    recall, precision = certificate["recall"], certificate["precision"]
    found = (("queries", recall.get("skipped_queries")), ("dropped documents", precision.get("skipped")))
    return [(what, why, number) for what, of in found for why, number in sorted((of or {}).items())]


def _deviation(precision: Mapping[str, Any]) -> str:
    largest = precision.get("largest_deviation")
    if largest is None:
        return ""
    if largest == 0:
        return " Every similarity recorded is the one recomputed."
    return f" The similarity recorded and the one recomputed differ by up to {largest:.2g}."


def _interval(entry: Mapping[str, Any]) -> str:
    return f"({_range(entry, of='95% interval ')})"


def _range(entry: Mapping[str, Any], *, of: str = "") -> str:
    """The interval; of a whole population there is none to give."""
    if entry["low"] == entry["estimate"] == entry["high"]:
        return "counted in full"
    return f"{of}{percent(entry['low'])} to {percent(entry['high'])}"


def _figures(certificate: Mapping[str, Any]) -> list[list[Any]]:
    recall, precision = certificate["recall"], certificate["precision"]
    queries = f"{recall['num_queries']:,} queries" + (", all documents" if recall["is_census"] else "")
    rows = [
        [f"recall, pairs {entry['min_jaccard']:g} alike or more", *_estimate(entry),
         f"{queries}; {entry['resolved_seen']:,} of {entry['pairs_seen']:,} pairs seen resolved"]
        for entry in recall["at"]
    ]  # fmt: skip
    compared = f"{precision['reached']:,} of {precision['num_compared']:,} dropped reach {certificate['min_jaccard']:g}"
    return [*rows, ["precision", *_estimate(precision), compared]]


def _estimate(entry: Mapping[str, Any]) -> list[str]:
    if entry["estimate"] is None:
        return ["none seen", ""]
    return [percent(entry["estimate"]), _range(entry)]


def _documents(counts: Mapping[str, int]) -> list[list[Any]]:
    names = {
        "all": "came in",
        "exact_duplicates": "exact duplicates, removed first",
        "near_duplicates": "near duplicates, removed",
        "near_duplicates_by_release": "of these, for one of an earlier release",
        "near_duplicates_by_sketch": "of these, judged by its sketch",
        "kept": "kept",
    }
    return [[said, counts[name]] for name, said in names.items() if name in counts]


def _tiles(certificate: Mapping[str, Any]) -> str:
    documents, precision = certificate["documents"], certificate["precision"]
    found = [
        tile(f"recall at {entry['min_jaccard']:g}", *_estimate_in_words(entry, f"{entry['pairs_seen']:,} pairs seen"))
        for entry in certificate["recall"]["at"]
    ]
    found.append(
        tile(
            "precision",
            *_estimate_in_words(precision, f"{precision['num_compared']:,} dropped compared"),
            bad=not certificate["verified"],
        )
    )
    exact, near = documents.get("exact_duplicates", 0), documents.get("near_duplicates", 0)
    sketch = documents.get("near_duplicates_by_sketch", 0)
    note = f"near duplicates of {documents.get('compared', 0):,}; before them {exact:,} exact ones"
    found.append(tile("removed", f"{near:,}", note + (f"; {sketch:,} by sketch" if sketch else "")))
    return "".join(found)


def _estimate_in_words(entry: Mapping[str, Any], measured_on: str) -> tuple[str, str]:
    if entry["estimate"] is None:
        return "\u2013", "none seen"
    return percent(entry["estimate"]), f"{_range(entry)}, {measured_on}"


def _worst(removed: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[tuple[str, str, int, int]]:
    rows = [
        (stratum, bucket, documents, lost)
        for stratum, buckets in removed.items()
        for bucket, documents, lost in _by_share(buckets)
        if lost
    ]
    return sorted(rows, key=lambda row: (-row[3] / row[2], -row[2], row[0], row[1]))[:WORST_SHOWN]


def _by_share(buckets: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, int, int]]:
    rows = [(bucket, int(entry["documents"]), int(entry["removed"])) for bucket, entry in buckets.items()]
    return sorted((row for row in rows if row[1]), key=lambda row: (-row[2] / row[1], -row[1], row[0]))


def _place_of_stratum(named: tuple[str, Any]) -> int:
    return STRATA.index(named[0]) if named[0] in STRATA else len(STRATA)


def _in_order(stratum: str, buckets: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, int, int]]:
    """Lengths from short to long, others with the largest share first."""
    rows = _by_share(buckets)
    return (
        sorted(rows, key=lambda row: LENGTHS.index(row[0]) if row[0] in LENGTHS else -1)
        if stratum == "length"
        else rows
    )


def _similarity(pair: Mapping[str, Any]) -> str:
    """As recorded; where nothing was verified, as the certificate measured it."""
    found = pair.get("recomputed") if pair.get("similarity") is None else pair["similarity"]
    return "not measured" if found is None else f"{found:.3f}"


def _pairs(title: str, pairs: Sequence[Mapping[str, Any]] | None) -> str:
    return f"<h3>{title}</h3>{''.join(pair_card(pair) for pair in pairs)}" if pairs else ""


def _largest(clusters: Sequence[Mapping[str, Any]]) -> str:
    if not clusters:
        return ""
    shown = []
    for position, entry in enumerate(clusters):
        pairs = "".join(pair_card(pair) for pair in entry["pairs"]) or "<p class='quiet'>nothing of it was dropped</p>"
        opened = " open" if position == 0 else ""
        summary = f"{entry['size']:,} documents <code>{text_of(entry['cluster'])}</code>"
        shown.append(f"<details{opened}><summary>{summary}</summary>{pairs}</details>")
    return f"<h3>Largest clusters, with some of the dropped beside their keeper</h3>{''.join(shown)}"


def banner(warnings: Sequence[str]) -> str:
    """Warnings for the page, red."""
    return "".join(f"<p class='alarm' role='alert'>{text_of(warning)}</p>" for warning in warnings)


def print_warnings(warnings: Sequence[str]) -> None:
    """Warnings for the terminal, red where it has colours."""
    for warning in warnings:
        tables.print_alarm(warning)
