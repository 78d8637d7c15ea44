"""`eyas verify`: an honest artifact passes, every kind of tampering is named, changed code and input are said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.artifact import BuildOptions, build_all
from pipelines.cli import main
from pipelines.cli.integrity import check_integrity
from pipelines.cli.locate import locate
from pipelines.cli.reexecution import differences
from pipelines.recipes import Request, describe
from tests.unit.cli_corpus import write_corpus


@pytest.fixture
def place(tmp_path) -> Path:
    """A root with birds-clean and birds-exact, built by a recipe file that can be called again."""
    write_corpus(tmp_path / "in")
    name = f"recipe_{abs(hash(str(tmp_path)))}"
    (tmp_path / f"{name}.py").write_text("from tests.unit.cli_corpus import recipe\n")
    request = Request(
        recipe=str(tmp_path / f"{name}.py"), inputs=(str(tmp_path / "in" / "*.txt"),), settings=("sizes.min_words=3",)
    )
    build_all((describe(request),), BuildOptions(root=str(tmp_path / "root"), recipe=request.record()))
    return tmp_path


def checks_of(capsys, *words: str) -> tuple[int, dict[str, dict]]:
    code = main(["verify", *words, "--json"])
    return code, {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}


def test_an_honest_artifact_passes_and_is_made_again(place, capsys):
    code, checks = checks_of(capsys, str(place / "root/birds-clean"), "--all")
    assert code == 0
    assert all(check["passed"] for check in checks.values())
    assert checks["recipe"]["finding"] == "called again, it has the same fingerprint"
    assert checks["shards made again"]["finding"] == "3 of 3, equal in every file"
    assert main(["verify", str(place / "root/birds-clean"), "--shards", "1"]) == 0
    assert "1 of 3, equal in every file" in capsys.readouterr().out


def test_a_maker_of_passes_is_checked_and_the_rest_is_said(place, capsys):
    code, checks = checks_of(capsys, str(place / "root/birds-exact"))
    assert code == 0
    assert checks["recipe"]["passed"]
    assert checks["shards made again"]["passed"] is None
    assert "works in passes (the first is digests)" in checks["shards made again"]["finding"]


def rewrite(path: Path) -> None:
    table = pq.read_table(path)
    pq.write_table(table.slice(0, len(table) - 1), path)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def edit_manifest(path: Path, **changes) -> None:
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | changes))


@pytest.mark.parametrize(
    ("kind", "harm", "failing", "problem"),
    [
        ("kept/*.parquet", rewrite, "files", "bytes is"),
        ("signals/*.parquet", flip, "files", "sha256 is"),
        ("quarantine/*.jsonl", flip, "files", "sha256 is"),
        ("dropped/*.parquet", Path.unlink, "files", "does not exist"),
        ("counts/*.json", Path.unlink, "counts", "is absent"),
        (
            "counts/*.json",
            lambda p: p.write_text(p.read_text().replace('"documents": 60', '"documents": 61')),
            "counts",
            "do not add up",
        ),
        ("manifest.json", lambda p: edit_manifest(p, root_hash="0" * 64), "root_hash", "the content gives"),
        (
            "manifest.json",
            lambda p: edit_manifest(p, inputs=[]),
            "fingerprint",
            "not those that the fingerprint covers",
        ),
        ("manifest.json", lambda p: edit_manifest(p, fingerprint="0" * 64), "fingerprint", "the payload hashes to"),
        (
            "kept",
            lambda p: (p / "more.parquet").write_bytes(b"x"),
            "no other files",
            "more.parquet is not in the manifest",
        ),
    ],
)
def test_every_harm_is_named(place, capsys, kind, harm, failing, problem):
    directory = Path(locate(str(place / "root/birds-clean")).directory)
    harm(sorted(directory.glob(kind))[0])
    code, checks = checks_of(capsys, str(directory), "--shards", "0")
    assert code == 1
    assert checks[failing]["passed"] is False
    assert any(problem in line for line in checks[failing]["problems"])


def test_the_same_rows_in_other_bytes_are_told_from_other_rows(place):
    """A Parquet file written again has another sha256; the check says that, and names the file."""
    located = locate(str(place / "root/birds-clean"))
    part = Path(located.parts("kept")[0].uri)
    pq.write_table(pq.read_table(part), part, compression="gzip")
    (files,) = [check for check in check_integrity(located) if check.name == "files"]
    assert files.passed is False
    assert part.name in files.problems[0]


def test_a_path_that_leads_out_is_refused(place):
    manifest = place / "root/birds-clean"
    directory = Path(locate(str(manifest)).directory)
    entries = json.loads((directory / "manifest.json").read_text())["files"]
    edit_manifest(directory / "manifest.json", files=[entries[0] | {"path": "../../../in/0.txt"}])
    (files,) = [check for check in check_integrity(locate(str(directory))) if check.name == "files"]
    assert files.problems == ("../../../in/0.txt: this path leads out of the artifact",)


def test_forged_content_is_found_by_making_it_again(place, capsys):
    """Data, commit, hashes and root_hash all forged alike: only the recipe tells."""
    located = locate(str(place / "root/birds-clean"))
    from dataclasses import asdict

    from pipelines.artifact import open_artifact
    from pipelines.manifest import file_entries, root_hash
    from pipelines.shards import read_commit, run_shard

    directory = Path(located.directory)
    shards = sorted(path.stem for path in directory.glob("counts/*.json"))
    before = {shard: read_commit(str(directory), shard) for shard in shards}
    forged = shards[0]
    tables = {
        path: pq.read_table(directory / path.path) for path in before[forged].files if path.path.endswith(".parquet")
    }
    others = {
        path: (directory / path.path).read_bytes()
        for path in before[forged].files
        if not path.path.endswith(".parquet")
    }

    class Named:
        name = forged

    def forge(shard, out):
        for record, table in tables.items():
            kind = record.path.partition("/")[0]
            if kind == "kept":
                url = table.schema.get_field_index("url")
                table = table.set_column(url, "url", pa.array(["http://forged.example/"] * len(table)))
            out.write(kind, table.combine_chunks().to_batches()[0])
        for record, content in others.items():
            out.open(record.path.partition("/")[0], Path(record.path).suffix).write(content)
        return before[forged].counts

    (directory / "counts" / f"{forged}.json").unlink()
    run_shard(Named, directory=str(directory), work=forge)
    commits = [read_commit(str(directory), shard) for shard in shards]
    assert asdict(commits[0])["counts"] == before[forged].counts
    edit_manifest(directory / "manifest.json", files=file_entries(commits), root_hash=root_hash(commits, {}))
    assert open_artifact(str(directory)).manifest["root_hash"] == root_hash(commits, {})
    code, checks = checks_of(capsys, str(directory), "--all")
    assert code == 1
    assert [name for name, check in checks.items() if check["passed"] is False] == ["shards made again"]
    assert any(
        line.startswith(f"kept/{forged}.parquet: other content") for line in checks["shards made again"]["problems"]
    )


def test_changed_code_is_said_with_what_changed(place, capsys, monkeypatch):
    from tests.unit.cli_corpus import Sizes

    monkeypatch.setattr(Sizes, "version", 2, raising=False)
    code, checks = checks_of(capsys, str(place / "root/birds-clean"))
    assert code == 1
    assert checks["files"]["passed"]
    assert checks["recipe"]["passed"] is False
    assert "maker.fields.pipeline.fields.stages[1].version: 1 -> 2" in checks["recipe"]["problems"]


def test_changed_and_moved_input(place, capsys):
    shutil.move(place / "in", place / "moved")
    code, checks = checks_of(capsys, str(place / "root/birds-clean"))
    assert code == 0
    assert checks["recipe"]["passed"] is None
    assert "--input" in checks["recipe"]["finding"]
    code, checks = checks_of(capsys, str(place / "root/birds-clean"), "--input", str(place / "moved" / "*.txt"))
    assert code == 0
    assert checks["shards made again"]["passed"]
    (place / "moved" / "0.txt").write_text("new|en|another text of the owl")
    code, checks = checks_of(capsys, str(place / "root/birds-clean"), "--input", str(place / "moved" / "*.txt"))
    assert code == 1
    assert any(line.startswith("inputs[0]: ") for line in checks["recipe"]["problems"])


def test_without_a_recipe_integrity_is_what_there_is(place, capsys):
    directory = locate(str(place / "root/birds-clean")).directory
    edit_manifest(Path(directory) / "manifest.json", recipe={})
    code, checks = checks_of(capsys, directory)
    assert code == 0
    assert checks["recipe"]["passed"] is None


def test_verifying_leaves_the_root_as_it_was(place, capsys):
    root = place / "root"
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert main(["verify", str(root / "birds-clean")]) == 0
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_differences_name_the_place():
    assert list(differences({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}], "c": 1})) == ["a[1].b: 2 -> 3", "c: absent -> 1"]
    assert list(differences({"a": (1, 2)}, {"a": [1, 2]})) == []
    assert list(differences([1], [1, 2], "x")) == ["x: [1] -> [1, 2]"]
