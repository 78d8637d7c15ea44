"""`inspect` of a near dedup: its certificate in tables, JSON and a page, hostile text in it, and the red banner."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pipelines.cli import main
from pipelines.cli.certificate import block_of, sentences, tables_of
from pipelines.cli.certificate_charts import s_curve
from pipelines.cli.tables import percent
from tests.unit.cli_corpus import built, described, with_dedup, write_corpus

HOSTILE = "</p><script>alert(1)</script>\x1b[2J\u202e'\"&"


def bin_of(low: float, **fields) -> dict:
    point = {"from_jaccard": low, "to_jaccard": round(low + 0.05, 2), "theory": 0.5, "pairs_seen": 40, "found_seen": 30}
    return point | {"estimate": 0.75, "low": 0.6, "high": 0.87, "resolved": 0.8, "pairs_in_corpus": 900.0} | fields


def certificate(**fields) -> dict:
    pair = {
        "similarity": 0.91,
        "recomputed": 0.91,
        "dropped": {"source": "web", "id": HOSTILE, "excerpt": HOSTILE},
        "keeper": {"source": "web", "id": "k", "excerpt": None},
    }
    at = {"pairs_seen": 412, "resolved_seen": 409, "queries_with_pairs": 188, "pairs_in_corpus": 22784}
    at |= {"effective_queries": 150.4}
    counts = {"documents": 1000, "removed": 120, "share": 0.12}
    return {
        "format": 1,
        "verified": True,
        "min_jaccard": 0.8,
        "config": {"num_perm": 112, "num_bands": 14, "rows_per_band": 8, "shingle_size": 5, "scheme": "x", "seed": 1},
        "options": {"num_queries": 2000, "num_dropped": 2000, "seed": 0},
        "documents": {
            "all": 5000,
            "exact_duplicates": 300,
            "compared": 4700,
            "near_duplicates": 420,
            "near_duplicates_by_release": 40,
            "near_duplicates_by_sketch": 31,
            "kept": 4280,
        },
        "recall": {
            "num_queries": 2000,
            "is_census": False,
            "skipped_queries": {"over 1048576 shingles": 1},
            "strata": [],
            "at": [
                {"min_jaccard": 0.8, "estimate": 0.9934, "low": 0.981, "high": 0.9985, **at},
                {"min_jaccard": 0.85, "estimate": None, "low": 0.0, "high": 1.0, **at},
            ],
            "s_curve": [bin_of(0.5, pairs_seen=0, estimate=None, resolved=None), bin_of(0.55), bin_of(0.95)],
        },
        "precision": {
            "num_sampled": 2000,
            "num_compared": 1999,
            "skipped": {"text over 4194304 bytes": 2},
            "reached": 1999,
            "estimate": 1.0,
            "low": 0.99816,
            "high": 1.0,
            "largest_deviation": 0.0,
            "below": [],
        },
        "by_sketch": {"dropped": 31, "sketch_size": 256, "standard_error": 0.025},
        "removed": {
            "source": {HOSTILE: counts, "wiki": {"documents": 0, "removed": 0, "share": 0.0}},
            "language": {"en": {"documents": 900, "removed": 9, "share": 0.01}},
            "length": {"1 KiB": {"documents": 1000, "removed": 0, "share": 0.0}},
        },
        "cluster_sizes": {"2": 310, "16": 1},
        "largest_clusters": [
            {"cluster": "9f86d081884c7d65", "size": 31, "pairs": [pair]},
            {"cluster": "2c26b46b68ffc68f", "size": 3, "pairs": []},
        ],
    } | fields


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("certificate")
    return built(with_dedup(write_corpus(folder / "in")), str(folder / "root")).directory


@pytest.fixture
def certified(corpus):
    """A finished artifact as near dedup leaves it: certificate beside the manifest, notes in it."""
    path = Path(corpus) / "manifest.json"
    before = path.read_text()

    def write(content: object, **note) -> str:
        text = content if isinstance(content, str) else json.dumps(content)
        (Path(corpus) / "certificate.json").write_text(text)
        manifest = json.loads(before)
        manifest["side_files"] = {"certificate.json": "0" * 64}
        manifest["notes"]["near_dedup"] = {"verified": True, "guard": []} | note
        path.write_text(json.dumps(manifest))
        return corpus

    yield write
    path.write_text(before)
    (Path(corpus) / "certificate.json").unlink()


class Page(HTMLParser):
    """Tags of a page and the text between them; refuses what could run or load."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        self.tags: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        assert tag not in ("script", "img", "link", "iframe")
        assert not any(name in ("src", "href") or name.startswith("on") for name, _ in attrs)

    def handle_data(self, data):
        self.text += data


def page_of(directory: str, folder: Path) -> Page:
    path = folder / "page.html"
    assert main(["inspect", directory, "--html", str(path)]) == 0
    page = Page()
    page.feed(path.read_text())
    return page


def test_the_terminal_gets_a_short_table(certified, capsys):
    assert main(["inspect", certified(certificate())]) == 0
    out = capsys.readouterr().out
    lines = [line.split("  ") for line in out.splitlines()]
    rows = {cells[0]: [cell.strip() for cell in cells[1:] if cell.strip()] for cells in lines}
    queries = "2,000 queries; 409 of 412 pairs seen resolved"
    assert rows["recall, pairs 0.8 alike or more"] == ["99.3%", "98.1% to 99.9%", queries]
    assert rows["recall, pairs 0.85 alike or more"][0] == "none seen"
    assert rows["precision"] == ["100%", "99.8% to 100%", "1,999 of 1,999 dropped reach 0.8"]
    assert rows["exact duplicates, removed first"] == ["300"]
    assert rows["near duplicates, removed"] == ["420"]
    assert rows["of these, for one of an earlier release"] == ["40"]
    assert rows["of these, judged by its sketch"] == ["31"]
    assert rows["9f86d081884c7d65"] == ["31", "0.910"]
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert "VERIFIED" not in out


def test_json_holds_the_whole_certificate(certified, capsys):
    assert main(["inspect", certified(certificate()), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["certificate"] == certificate()
    assert found["warnings"] == []


def test_the_page_says_it_in_words_and_charts_and_escapes(certified, tmp_path):
    page = page_of(certified(certificate()), tmp_path)
    assert "at least 0.8 alike, 99.3% (95% interval 98.1% to 99.9%) are resolved" in page.text
    assert "1,999 are at least 0.8 alike: 100% (95% interval 99.8% to 100%)" in page.text
    assert "31 documents were dropped for one of an earlier release, judged by its sketch of 256 hashes" in page.text
    assert "1 of the queries (over 1048576 shingles), 2 of the dropped documents (text over 4194304 bytes)" in page.text
    assert "</p><script>alert(1)</script>\\x1b[2J" in page.text
    assert "\u202e" not in page.text
    assert "16 to 31" in page.text
    assert "12.0% of 1,000" in page.text
    assert page.tags.count("details") == 2
    assert {"svg", "path", "circle"} <= set(page.tags)


def test_points_lie_where_their_similarity_and_share_are():
    drawn = s_curve([bin_of(0.5, estimate=None), bin_of(0.7, estimate=0.0), bin_of(0.7, estimate=1.0)],
                    min_jaccard=0.8, num_bands=14, rows_per_band=8)  # fmt: skip
    points = [part.split("'") for part in drawn.split("<circle class='point' ")[1:]]
    (low, high) = [(float(p[1]), float(p[3])) for p in points if p[1] != "13"]
    assert low[0] == high[0]
    assert low[1] > high[1], "100% is above 0%"
    curve = drawn.split("class='theory' d='M")[1].split("'")[0].split("L")
    xs, ys = zip(*(tuple(map(float, at.split())) for at in curve), strict=True)
    assert xs[0] < low[0] < xs[-1]
    assert ys[-1] == high[1], "the theory ends in 100%"
    assert list(ys) == sorted(ys, reverse=True)


def test_what_was_counted_in_full_has_no_interval():
    counted = {"estimate": 0.75, "low": 0.75, "high": 0.75, "is_census": True}
    whole = certificate(precision=certificate()["precision"] | counted)
    assert tables_of(whole)[0][2][-1][1:3] == ["75.0%", "counted in full"]
    assert "75.0% (counted in full)" in sentences(whole)[1]


def test_an_unverified_pair_is_shown_with_what_the_certificate_measured():
    pair = certificate()["largest_clusters"][0]["pairs"][0] | {"similarity": None, "recomputed": 0.41}
    unverified = certificate(verified=False, largest_clusters=[{"cluster": "c", "size": 2, "pairs": [pair]}])
    assert tables_of(unverified)[-1][2] == [["c", 2, "0.410"]]
    assert "similarity not verified, 0.410 when compared again" in block_of(unverified)


def test_lengths_go_from_short_to_long():
    lengths = {"1 KiB": 1, "16 KiB": 5, "256 B": 9, "4 KiB": 2}
    counts = {name: {"documents": 10, "removed": lost, "share": lost / 10} for name, lost in lengths.items()}
    shown = block_of(certificate(removed={"length": counts}))
    assert [shown.index(f">{name}<") for name in ("256 B", "1 KiB", "4 KiB", "16 KiB")] == sorted(
        shown.index(f">{name}<") for name in lengths
    )


def test_nothing_measured_is_said_not_crashed():
    recall = certificate()["recall"]
    for entry in recall["at"]:
        entry["estimate"] = None
    nothing = {"num_sampled": 0, "num_compared": 0, "skipped": {}, "reached": 0, "estimate": None}
    nothing |= {"low": 0.0, "high": 1.0, "largest_deviation": None, "below": []}
    empty = certificate(
        recall=recall | {"s_curve": [], "is_census": True, "skipped_queries": {}},
        precision=nothing,
        by_sketch={"dropped": 0, "sketch_size": None, "standard_error": None},
        removed={"source": {}, "language": {}, "length": {}},
        cluster_sizes={},
        largest_clusters=[],
    )
    assert "no cluster" in block_of(empty)
    said = sentences(empty)
    assert said[0].startswith("No pair of documents at least 0.8 alike was seen")
    assert said[1] == "Precision: no dropped document was compared again."
    assert len(said) == 2
    figures = tables_of(empty)[0][2]
    assert [row[1] for row in figures] == ["none seen"] * 3
    assert "all documents" in figures[0][3]


def test_pairs_that_fail_when_compared_again_are_shown():
    below = {"similarity": 0.9, "recomputed": 0.4, "dropped": {"source": "s", "id": "d", "excerpt": "one"}}
    precision = certificate()["precision"] | {
        "below": [below | {"keeper": {"source": "s", "id": "k", "excerpt": "two"}}]
    }
    shown = block_of(certificate(precision=precision))
    assert "less alike than min_jaccard when compared again" in shown
    assert "similarity 0.900, 0.400 when compared again" in shown


def test_an_unverified_artifact_says_so_in_all_three(certified, tmp_path, capsys):
    directory = certified(certificate(verified=False), verified=False)
    assert main(["inspect", directory]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[1].startswith("NOT VERIFIED: birds-exact/")
    assert main(["inspect", directory, "--json"]) == 0
    (warning,) = json.loads(capsys.readouterr().out)["warnings"]
    assert warning.startswith("NOT VERIFIED: ")
    assert "NOT VERIFIED: birds-exact/" in page_of(directory, tmp_path).text
    assert "class='alarm'" in (tmp_path / "page.html").read_text()


def test_what_the_guard_was_loosened_for_is_said(certified, capsys):
    finding = {"what": "bucket", "stratum": "language", "bucket": "de\x1b", "documents": 2000, "removed": 1900}
    finding |= {"share": 0.95, "bounds": {"max_removed_share": 0.6}}
    assert main(["inspect", certified(certificate(), guard=[finding])]) == 0
    out = capsys.readouterr().out
    assert "GUARD LOOSENED: birds-exact/" in out
    assert "language de\\x1b: 1,900 of 2,000 documents (95.0%), more than max_removed_share = 0.6" in out


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "not valid JSON"),
        ("[]", "not a certificate of near dedup"),
        ({"format": 2}, "format 2 is newer than 1, which this eyas reads; upgrade eyas"),
    ],
)
def test_a_certificate_that_cannot_be_read_is_an_error_with_its_place(content, said, certified, capsys):
    directory = certified(content)
    assert main(["inspect", directory]) == 2
    error = capsys.readouterr().err
    assert f"{directory}/certificate.json: " in error
    assert said in error


def test_an_artifact_without_a_certificate_shows_none(corpus, capsys):
    assert main(["inspect", corpus, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["certificate"] is None
    assert main(["inspect", corpus]) == 0
    assert "Certificate of near dedup" not in capsys.readouterr().out


def test_a_share_is_never_rounded_to_nothing_or_to_all():
    assert [percent(s) for s in (0.0, 1.0, 0.5, 0.9996, 0.00004, 1e-9, 1 - 1e-9)] == [
        "0%", "100%", "50.0%", "99.96%", "0.004%", "<0.0001%", ">99.9999%"
    ]  # fmt: skip


def test_a_warning_follows_to_what_was_built_on_it(tmp_path, capsys):
    folder, root = write_corpus(tmp_path / "in"), str(tmp_path / "root")
    exact = built(with_dedup(folder), root)
    clean = built(described(folder), root)
    path = Path(clean.directory) / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["notes"]["near_dedup"] = {"verified": False}
    path.write_text(json.dumps(manifest))
    assert main(["inspect", exact.directory]) == 0
    assert "NOT VERIFIED: birds-clean/" in capsys.readouterr().out
