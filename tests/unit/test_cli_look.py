"""`inspect`, `sample` and `explain` on a small corpus: the numbers agree, hostile text stays text, errors say the cure."""

from __future__ import annotations

import hashlib
import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.artifact import Artifact, BuildOptions, build_all
from pipelines.cli import main, tables
from pipelines.cli.explain import explain
from pipelines.cli.inspect import _add_lengths, _quantiles, equations, summarize
from pipelines.cli.locate import chain_of, locate
from pipelines.cli.sample import choose, describe
from pipelines.errors import InputError
from tests.unit.cli_corpus import Sizes, built, described, with_dedup, write_corpus


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("look")
    root = str(folder / "root")
    built(with_dedup(write_corpus(folder / "in"), dropped_text="none"), root)
    # What a build leaves there for files that were not written just before it.
    files = {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in (folder / "in").iterdir()}
    entries = {
        uri: {"marks": [], "file": {"uri": uri, "size": 0, "checksum": checksum}} for uri, checksum in files.items()
    }
    (Path(root) / "inventory").mkdir(exist_ok=True)
    (Path(root) / "inventory" / "birds.json").write_text(json.dumps({"format": 1, "files": entries}))
    return root


@pytest.fixture
def clean(root):
    return locate(f"{root}/birds-clean")


@pytest.fixture
def exact(root):
    return locate(f"{root}/birds-exact")


def test_an_artifact_is_found_by_directory_name_and_manifest(root, clean, monkeypatch):
    assert locate(clean.directory + "/").directory == clean.directory
    assert locate(clean.directory + "/manifest.json").directory == clean.directory
    assert locate("file://" + clean.directory).directory == clean.directory
    monkeypatch.chdir(clean.directory)
    here = locate(".")
    assert here.root == root
    assert [item.built.name for item in chain_of(locate("../../birds-exact")).artifacts] == [
        "birds-clean",
        "birds-exact",
    ]


def test_what_is_no_artifact_says_what_to_type(root, clean, tmp_path):
    with pytest.raises(InputError, match=rf"no artifact here.*did you mean {root}/birds-clean\?"):
        locate(f"{root}/birds-clea")
    with pytest.raises(InputError, match=r"a root, not an artifact; name one of the 2 under it:\n.*birds-clean"):
        locate(root)
    (tmp_path / "a" / "b" / "work").mkdir(parents=True)
    with pytest.raises(InputError, match=r"not finished; run it again to resume, `eyas status"):
        locate(str(tmp_path / "a" / "b"))
    (tmp_path / "a" / "b" / "manifest.json").write_text("[]")
    with pytest.raises(InputError, match="not a manifest of eyas"):
        locate(str(tmp_path / "a" / "b"))
    (tmp_path / "a" / "b" / "manifest.json").write_text('{"name": "a", "fingerprint": "b"}')
    with pytest.raises(InputError, match="has no 'payload'"):
        locate(str(tmp_path / "a" / "b"))


def test_several_fingerprints_are_listed(tmp_path):
    folder, where = write_corpus(tmp_path / "in"), str(tmp_path / "root")
    built(described(folder), where)
    built(described(folder, stages=(Sizes(),)), where)
    with pytest.raises(
        InputError, match=r"2 finished artifacts lie here; name one of them:\n  .*kept  20\d\d-"
    ) as caught:
        locate(f"{where}/birds-clean")
    assert str(caught.value).count(" kept  ") == 2


def test_inspect_gives_the_counts_of_the_files(clean):
    found = summarize(clean)
    dropped = pa.concat_tables([pq.read_table(part.uri) for part in clean.parts("dropped")]).to_pylist()
    by_reason = {row["reason"]: row for row in found["reasons"]}
    for reason, row in by_reason.items():
        assert row["dropped"] == sum(f"{d['stage']}/{d['reason']}" == reason for d in dropped)
        assert row["held"] == sum(reason in d["reasons"] for d in dropped)
    assert sum(row["dropped"] for row in by_reason.values()) == len(dropped)
    assert by_reason["stop_words/too_many_owls"]["rule"] == "num_owls > half_of_max_owls = 4"
    sums = found["conservation"]
    assert sums == {
        "records": 183,
        "documents": 180,
        "quarantined": 3,
        "kept": 180 - len(dropped),
        "dropped": len(dropped),
        "holds": True,
    }
    assert equations(found)[0] == "183 records = 180 documents + 3 quarantined"
    assert found["counts"]["skipped"] == {"comment": 3}
    assert found["files"]["kept"]["rows"] == sums["kept"]


def test_inspect_prints_tables_json_and_a_page(clean, exact, tmp_path, capsys):
    assert main(["inspect", exact.directory, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert [row["artifact"].partition("/")[0] for row in data["funnel"]] == ["birds-clean", "birds-exact"]
    assert data["notes"]["exact_duplicate_groups"] >= 1
    assert main(["inspect", clean.directory]) == 0
    out = capsys.readouterr().out
    for expected in (
        "183 records = 180 documents + 3 quarantined",
        "broken_line",
        "comment",
        "trim/num_trimmed",
        "too_few_letters",
        "By language",
        "p50",
    ):
        assert expected in out
    page = tmp_path / "page.html"
    assert main(["inspect", clean.directory, "--html", str(page)]) == 0
    assert capsys.readouterr().out == ""

    class Tags(HTMLParser):
        seen: list[str] = []  # noqa: RUF012 - one parser, in one test

        def handle_starttag(self, tag, attrs):
            self.seen.append(tag)
            assert tag not in ("script", "img", "link", "iframe")
            assert not any(name in ("src", "href") for name, _ in attrs)

    parser = Tags()
    parser.feed(page.read_text())
    assert parser.seen.count("table") == out.count("\n\n")


def test_inspect_shows_an_artifact_that_counts_no_documents(clean, capsys):
    path = Path(clean.directory) / "manifest.json"
    manifest = json.loads(path.read_text())
    other = Path(clean.root) / "vocab" / manifest["fingerprint"][:12]
    other.mkdir(parents=True)
    (other / "manifest.json").write_text(
        json.dumps(
            manifest
            | {
                "name": "vocab",
                "counts": {"tokens": {"web": 12}},
                "files": [],
                "rules": [],
                "notes": {"<b>": "x\x1b[2J"},
            }
        )
    )
    assert main(["inspect", str(other)]) == 0
    out = capsys.readouterr().out
    assert "tokens.web" in out
    assert r"x\x1b[2J" in out
    assert "\x1b" not in out
    assert main(["inspect", str(other), "--html", str(other / "page.html")]) == 0
    assert "&lt;b&gt;" in (other / "page.html").read_text()
    for path in other.iterdir():
        path.unlink()
    other.rmdir()
    other.parent.rmdir()


@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=200))
def test_quantiles_of_lengths_are_within_one_percent(lengths):
    total: dict[int, int] = {}
    for half in np.array_split(np.array(lengths, np.int64), 2):
        if half.size:
            _add_lengths(total, half)
    ordered = sorted(lengths)
    for name, value in _quantiles(total).items():
        exact = ordered[min(int(float(name[1:]) / 100 * len(ordered)), len(ordered) - 1)]
        assert exact * 0.992 - 1e-9 <= value <= exact


def test_a_sample_is_deterministic_and_complete(clean):
    chosen, matching = choose(clean, dropped=False, n=10**6)
    kept = pa.concat_tables([pq.read_table(part.uri) for part in clean.parts("kept")])
    assert matching == len(kept) == len(chosen) == len({item.id for item in chosen})
    few, _ = choose(clean, dropped=False, n=7)
    assert [item.id for item in few] == [item.id for item in chosen[:7]]
    other, _ = choose(clean, dropped=False, n=7, seed=1)
    assert [item.id for item in other] != [item.id for item in few]
    texts = dict(zip(kept["id"].to_pylist(), kept["text"].to_pylist(), strict=True))
    for item in few:
        assert describe(clean, item, dropped=False)["text"] == texts[item.id]


def test_a_sample_of_dropped_documents_explains_each(clean):
    dropped = pa.concat_tables([pq.read_table(part.uri) for part in clean.parts("dropped")]).to_pylist()
    for reason in ("too_few_stops", "stop_words/too_few_stops"):
        chosen, matching = choose(clean, dropped=True, reason=reason, n=5)
        assert matching == sum("stop_words/too_few_stops" in row["reasons"] for row in dropped) > 5
    for item in chosen:
        document = describe(clean, item, dropped=True)
        assert any(line.startswith("num_stops = 0 < min_stops[") for line in document["because"])
        assert len(document["because"]) == len(document["reasons"])
        assert document["text"] is None
        assert "read it again at" in document["read_again"]
        assert document["read_again"].endswith(".txt")
    languages = {
        d["id"]: d["language"]
        for d in map(lambda c: describe(clean, c, dropped=True), choose(clean, dropped=True, n=999)[0])
    }
    wanted = choose(clean, dropped=True, language="de", n=999)[0]
    assert {item.id for item in wanted} == {i for i, language in languages.items() if language == "de"}
    assert wanted


def test_a_wrong_reason_lists_the_right_ones(clean):
    with pytest.raises(
        InputError,
        match=r"'too_few_wings' is no reason of this artifact; documents were dropped for: .*too_few_letters",
    ):
        choose(clean, dropped=True, reason="too_few_wings")


HOSTILE = "\x1b]0;owned\x07\x1b[2Jthe owl\u202e of\u200b\u2066\x9b31m [bold]the falcon[/bold] \ud800"


def test_hostile_text_never_steers_the_terminal(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "0.txt").write_text(f"evil\x1b[31m|en|{HOSTILE[:-1]}")
    artifact = built(
        described(tmp_path / "in", stages=(Sizes(min_letters=0, max_letters=999, max_letters_per_word=99.0),)),
        str(tmp_path / "root"),
    )
    for words in (
        ["sample", artifact.directory],
        ["explain", artifact.directory, "evil\x1b[31m"],
        ["sample", artifact.directory, "--json"],
    ):
        assert main(words) == 0
        captured = capsys.readouterr()
        assert not set(captured.out + captured.err) & set("\x1b\x07\x9b\u202e\u2066\u200b")
        assert "[bold]the falcon[/bold]" in captured.out or words[0] == "explain"


@given(st.text(st.characters(codec=None)))
def test_printable_text_holds_no_control_character(text):
    shown = tables.printable(text, lines=True)
    assert all(c in "\n\t" or (c.isprintable() or ord(c) >= 0x7F) for c in shown)
    shown.encode()
    harmless = "".join(c for c in text if c.isascii() and c.isprintable())
    assert tables.printable(harmless) == harmless


def test_explain_follows_a_duplicate_to_its_keeper(exact):
    lost = pa.concat_tables([pq.read_table(part.uri) for part in exact.parts("dropped")]).to_pylist()
    assert lost
    found = explain(exact, lost[0]["id"])
    first, second = found["fates"]
    assert (first["fate"], second["fate"]) == ("kept", "dropped")
    assert len(first["rules"]) == 7
    assert not any(rule["holds"] for rule in first["rules"])
    assert second["extra"]["keeper_id"] == lost[0]["keeper_id"]
    assert found["outcome"].startswith("dropped in birds-exact/")
    keeper = explain(exact, second["extra"]["keeper_id"])
    assert [fate["fate"] for fate in keeper["fates"]] == ["kept", "kept"]


def test_explain_agrees_with_what_was_stored_for_every_document(clean):
    for part in clean.parts("signals"):
        for row in pq.read_table(part.uri).to_pylist():
            (fate,) = explain(clean, row["id"])["fates"]
            assert (
                [f"{r['stage']}/{r['reason']}" for r in fate["rules"] if r["holds"]]
                == row["reasons"]
                == fate["reasons"]
            )
            assert fate["shard"] == part.name
            assert fate["fate"] == ("dropped" if row["reasons"] else "kept")
            (few,) = [r for r in fate["rules"] if r["reason"] == "too_few_letters"]
            assert few["sentence"] == f"num_letters = {row['num_letters']} < min_letters = 8"


def test_explain_finds_quarantined_records_and_names_unknown_ones(exact, capsys):
    found = explain(exact, "broken-1")
    assert found["fates"][0]["fate"] == "quarantined"
    assert found["fates"][0]["extra"] == {"detail": "not closed"}
    assert found["outcome"].startswith("quarantined in birds-clean/")
    assert main(["explain", exact.directory, "broken-1"]) == 0
    assert "broken_line" in capsys.readouterr().out
    with pytest.raises(
        InputError, match=r"no document 'd9-9' in birds-clean/\w+, birds-exact/\w+; `eyas sample` prints ids"
    ):
        explain(exact, "d9-9")
    with pytest.raises(InputError, match=r"of source 'cats' in .*; sources are birds"):
        explain(exact, "d0-0", source="cats")


def test_an_id_of_two_sources_asks_which(tmp_path):
    folder, where = write_corpus(tmp_path / "in"), str(tmp_path / "root")
    parts = [
        described(
            folder, name=name, stages=(Sizes(min_letters=0, min_words=0, max_letters=999, max_letters_per_word=99.0),)
        )
        for name in "ab"
    ]
    from pipelines.makers.exact_dedup import ExactDedup

    both = Artifact(name="both", maker=ExactDedup(normalize="none"), inputs=tuple(parts))
    build_all((both,), BuildOptions(root=where))
    located = locate(f"{where}/both")
    with pytest.raises(InputError, match=r"the id 'd0-3' is in the sources a, b; name one with --source"):
        explain(located, "d0-3")
    assert {fate["source"] for fate in explain(located, "d0-3", source="b")["fates"]} == {"b"}
