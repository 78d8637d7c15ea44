"""The scripts of `make gpu`, tried without a GPU: what they judge, what they survive, and what they may import."""

from __future__ import annotations

import ast
import io
import json
import math
import os
import subprocess
import sys
import tarfile
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.gpu import parity, peers, run, timing
from benchmarks.gpu.clock import median_seconds
from benchmarks.gpu.compare import peer
from benchmarks.gpu.determinism import _compare, determinism
from benchmarks.gpu.parts import PEERS, Part, own_parts, peer_parts
from benchmarks.gpu.planted import verdict
from benchmarks.gpu.report import table
from benchmarks.gpu.rows import CHECK, FIGURE, GOAL, Row
from benchmarks.gpu.shapes import Options, awkward_documents, layer_launches, scan_inputs, spans, usual_documents
from benchmarks.gpu.steps import steps
from model_smoke.config import SIZES
from model_smoke.kernels.reference import recurrent_scan

ROOT = Path(__file__).resolve().parents[2]
TRIAL = Options(device="cpu", backend="torch", small=True)
OPTIONS = {"device": "cpu", "backend": "torch", "small": True, "wheels": ""}


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# rows


@given(
    value=st.floats(),
    bound=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    more_is_better=st.booleans(),
    kind=st.sampled_from([CHECK, GOAL, FIGURE]),
)
def test_a_row_survives_json_and_nothing_broken_holds(value, bound, more_is_better, kind):
    row = Row(what="x", value=value, unit="s", kind=kind, bound=bound, more_is_better=more_is_better, more={"a": value})
    back = Row.from_json(json.loads(json.dumps(row.as_json(), allow_nan=False)))
    assert (back.what, back.kind, back.bound, back.more_is_better) == ("x", kind, bound, more_is_better)
    assert back.value == value if math.isfinite(value) else math.isnan(back.value)
    if bound is None:
        assert row.holds is None
    elif not math.isfinite(value):
        assert back.holds is False
    else:
        assert back.holds == row.holds == ((value >= bound) if more_is_better else (value <= bound))


# parity


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_parity_holds_for_what_is_right(dtype):
    rows = list(parity.parity(TRIAL, "tiny", dtype))
    assert {row.what: (row.value, row.bound) for row in rows if not row.holds} == {}
    names = " ".join(row.what for row in rows)
    for part in ("ssd, one document a row, ddt_bias", "ssd, documents, dA_log", "strong decay, dC", "conv, documents, dweight",
                 "norm, dx", "gated norm, dz", "gate, dz", "model, logits"):  # fmt: skip
        assert part in names
    assert all(row.kind == CHECK and row.bound > 0 for row in rows)
    assert all(("transformers" in row.more) == (dtype == "bf16") for row in rows)


FAULTS = {
    "two percent too large": lambda y: y * 1.02,
    "one value never written": lambda y: y.index_fill(1, torch.tensor([7]), math.nan),
    "one token late": lambda y: y.roll(1, dims=1),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_parity_fails_what_is_wrong(fault, dtype):
    for case in parity.cases(SIZES["tiny"], 2, 40, dtype, TRIAL):
        broken = replace(case, ours=lambda given, work=case.ours: FAULTS[fault](work(given)))
        rows = list(parity._judge(broken, "tiny", dtype))
        assert rows[0].what.endswith(", y")
        assert rows[0].holds is False, case.name


def test_a_scan_that_leaks_over_documents_fails():
    config = SIZES["tiny"]
    cases = {case.name: case for case in parity.cases(config, 2, 70, torch.bfloat16, TRIAL)}
    leaking = replace(cases["ssd, documents"], ours=cases["ssd, one document a row"].ours)
    assert not all(row.holds for row in parity._judge(leaking, "tiny", torch.bfloat16))


def test_a_kernel_that_raises_is_a_check_that_fails(monkeypatch):
    def refuse(*_arguments, **_options):
        raise RuntimeError("out of resource: shared memory")

    monkeypatch.setattr(parity, "ssd_scan", refuse)
    rows = list(parity.parity(TRIAL, "tiny", "fp32"))
    broken = [row for row in rows if row.holds is False]
    assert len(broken) == 3
    assert all("shared memory" in row.more["error"] for row in broken)
    assert any(row.holds for row in rows)


def test_uninitialized_memory_is_nan_inside_and_torch_is_as_before_after():
    before = torch.are_deterministic_algorithms_enabled()
    with parity.poisoned():
        assert torch.empty(5).isnan().all()
    assert torch.are_deterministic_algorithms_enabled() == before


def test_documents_start_where_chunks_do_and_do_not():
    documents = awkward_documents(2, 70, "cpu")
    assert list(spans(documents)) == [
        (0, 0, 1), (0, 1, 63), (0, 63, 64), (0, 64, 65), (0, 65, 70), (1, 0, 70),
    ]  # fmt: skip
    assert documents.dtype == torch.int32
    lengths = [stop - start for _, start, stop in spans(usual_documents(4, 20_000, "cpu"))]
    assert sum(lengths) == 80_000
    assert 700 < sum(lengths) / len(lengths) < 1300


# determinism


def test_the_same_bits_twice_on_the_cpu():
    rows = list(determinism(TRIAL, "tiny"))
    assert len(rows) == 8
    assert all(row.holds for row in rows)


def test_bits_are_compared_not_values():
    def differ(a, b):
        return not _compare("x", CHECK, {"y": torch.tensor(a)}, {"y": torch.tensor(b)}).holds

    assert differ([0.0], [-0.0])
    assert not differ([math.nan, 1.0], [math.nan, 1.0])
    assert differ([1.0], [1.0 + 2**-23])


# clocks and counts


def test_bytes_of_a_launch_count_each_tensor_once():
    a, b = torch.zeros(10), torch.zeros(3, 4, dtype=torch.bfloat16)
    assert timing.launch_bytes({"a": a, "again": a, "b": b, "length": 7}) == 40 + 24


def test_launches_of_a_layer_move_what_their_tensors_hold():
    """x [2, 70, 4, 32] and B, C [2, 70, 1, 16] in bfloat16, steps three float32 [2, 2 chunks, 4, 64], states bfloat16
    [2, 2, 4, 32, 16], starts int32 [2, 70], D float32 [4]: what `outputs` reads, with y as large as x.
    """
    pytest.importorskip("triton", reason="Triton is not installed")
    documents = awkward_documents(2, 70, "cpu")
    made = {
        (operation, direction): dict(parts)
        for operation, direction, parts in layer_launches(SIZES["tiny"], 2, 70, device="cpu", documents=documents)
    }
    assert list(made) == [
        (name, direction) for name in ("ssd", "conv", "norm", "gate") for direction in ("forward", "backward")
    ]
    x, keys, steps_, states = 2 * 70 * 128 * 2, 2 * 70 * 16 * 2, 2 * 2 * 4 * 64 * 4, 2 * 2 * 4 * 32 * 16 * 2
    expected = 2 * x + 2 * keys + 3 * steps_ + states + 2 * 70 * 4 + 4 * 4
    assert timing.launch_bytes(made["ssd", "forward"]["outputs"].arguments) == expected


def test_the_floor_of_the_scan_at_the_half_billion_shape():
    """Forward moves x and y, 3,072 bytes each, B and C 512, dt 48; its products are 24 heads x (2 x 64 x 64 + 4 x 64 x 128) and
    2 x 64 x 128 once: 999,424 operations. At 4 TB/s and 500 TFLOP/s that is 1.68 ns against 2.00.
    """
    floors = timing.scan_floors(SIZES["0.5b"], (4e12, 500e12))
    assert floors["forward"] == pytest.approx(999_424 / 500e12 * 1e9)
    assert timing.scan_floors(SIZES["0.5b"], (4e12, 1e18))["forward"] == pytest.approx(6704 / 4e12 * 1e9)
    assert floors["forward and backward"] == pytest.approx(3 * floors["forward"])


def test_the_median_leaves_out_the_warm_up():
    calls = []
    assert median_seconds(lambda: calls.append(0), "cpu", runs=5, warmup=2) >= 0
    assert len(calls) == 7


def test_a_step_gives_tokens_a_second_and_where_the_time_goes():
    rows = list(steps(TRIAL, "tiny"))
    assert [row.what for row in rows[:2]] == ["tiny step, documents", "tiny step, one document a row"]
    for row in rows[:2]:
        assert row.value == pytest.approx(row.more["tokens_a_step"] / row.more["seconds"])
        assert row.more["mfu"] == pytest.approx(row.value * SIZES["tiny"].flops_per_token(64) / 989e12)
    shares = [row.value for row in rows[2:]]
    assert shares == sorted(shares, reverse=True)
    assert 0 < sum(shares) <= 1.0001


def test_a_small_verdict():
    rows = {row.what: row for row in verdict(TRIAL)}
    assert "BPB" in rows["smoke verdict: 20% shuffled is called worse"].more["sentence"]


# peers


@given(
    heads=st.sampled_from([(1, 1), (4, 1), (4, 2)]),
    chunks=st.integers(1, 5),
    chunk=st.sampled_from([1, 2, 8]),
    seed=st.integers(0, 100),
)
@settings(max_examples=25, deadline=None)
def test_the_torch_peer_computes_the_recurrence(heads, chunks, chunk, seed):
    config = replace(
        SIZES["tiny"], ssm_heads=heads[0], ssm_groups=heads[1], ssm_head_dim=3, ssm_state=5
    )  # fmt: skip
    inputs = scan_inputs(config, 2, chunks * chunk, dtype=torch.float32, device="cpu", seed=seed)
    exact = parity.differentiate(lambda given: recurrent_scan(**given), inputs, torch.float64)
    made = parity.differentiate(lambda given: peers.plain_scan(**given, chunk=chunk), inputs)
    for name, each in exact.items():
        assert (made[name] - each).norm() <= 2e-5 * each.norm() + 1e-7, name


def test_a_peer_is_timed_only_if_it_computes_the_same(monkeypatch):
    rows = list(peer(TRIAL, "torch-eager"))
    assert [row.kind for row in rows] == [CHECK, FIGURE, FIGURE, FIGURE, FIGURE]
    assert rows[2].value == pytest.approx(rows[1].value / rows[1].more["ours"])
    assert list(peer(TRIAL, "torch-eager", warm=True)) == []

    monkeypatch.setitem(peers.PEERS, "torch-eager", ("", lambda: lambda **given: 2 * peers.plain_scan(**given)))
    only = list(peer(TRIAL, "torch-eager"))
    assert [(row.kind, row.holds) for row in only] == [(CHECK, False)]


def test_wheels_and_source_archives_are_unpacked_and_gone_after(tmp_path):
    with zipfile.ZipFile(tmp_path / "some_peer-1.2-py3-none-any.whl", "w") as wheel:
        wheel.writestr("some_peer/__init__.py", "raise RuntimeError('needs a CUDA build')")
        wheel.writestr("some_peer/kernel.py", "VALUE = 7")
        wheel.writestr("some_peer-1.2.dist-info/METADATA", "")
    with tarfile.open(tmp_path / "other-3.0.tar.gz", "w:gz") as sources:
        entry = tarfile.TarInfo("other-3.0/other/kernel.py")
        entry.size = 9
        sources.addfile(entry, io.BytesIO(b"VALUE = 8"))
    before = list(sys.path)
    with peers.unpacked(str(tmp_path)) as places:
        assert peers.stand_in("some_peer") == "1.2"
        assert peers.stand_in("other") == "3.0"
        from other.kernel import VALUE as other  # what was just unpacked
        from some_peer.kernel import VALUE as some

        assert (some, other) == (7, 8)
        with pytest.raises(ImportError, match="no third"):
            peers.stand_in("third")
    assert sys.path == before
    assert not places[-1].exists()
    for name in [name for name in sys.modules if name.split(".")[0] in ("some_peer", "other")]:
        del sys.modules[name]


def test_an_archive_that_writes_elsewhere_is_refused(tmp_path):
    folder = tmp_path / "wheels"
    folder.mkdir()
    with tarfile.open(folder / "bad-1.tar.gz", "w:gz") as sources:
        sources.addfile(tarfile.TarInfo("../../escaped"))
    with pytest.raises(tarfile.OutsideDestinationError), peers.unpacked(str(folder)):
        pass


# the driver

FAKE = """
import os
from benchmarks.gpu.rows import CHECK, Row

def fine(options):
    yield Row(what="a", value=1.0, unit="", kind=CHECK, bound=2.0)

def raises(options):
    yield from fine(options)
    raise ValueError("a fault\\nof two lines")

def dies(options):
    yield from fine(options)
    os._exit(9)

def hangs(options):
    while True:
        pass

def lacks(options):
    import a_module_that_is_not_there
    yield
"""


@pytest.fixture
def fake(tmp_path, monkeypatch):
    (tmp_path / "fake_gpu_parts.py").write_text(FAKE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def start(function, **options):
        part = Part(name=function, module="fake_gpu_parts", function=function, **options)
        return run.run_part(part, OPTIONS, time.monotonic() + 100)

    return start


def test_a_part_that_fails_leaves_its_rows_and_its_reason(fake):
    fine, raises, dies = fake("fine"), fake("raises"), fake("dies")
    assert [each.status for each in (fine, raises, dies)] == ["done", "failed", "failed"]
    assert [len(each.rows) for each in (fine, raises, dies)] == [1, 1, 1]
    assert raises.reason == "ValueError: a fault of two lines"
    assert "Traceback" in raises.log
    assert "code 9" in dies.reason
    assert run.all_well([fine])
    assert not run.all_well([fine, dies])


def test_a_part_that_hangs_is_stopped_at_its_cap(fake):
    outcome = fake("hangs", cap_s=0.5)
    assert (outcome.status, outcome.reason) == ("timed out", "stopped after 0 s")
    late = run.run_part(Part(name="late", module="x", function="y"), OPTIONS, time.monotonic() + 1)
    assert (late.status, late.reason) == ("timed out", "no time left in this run's budget")


def test_what_a_peer_lacks_is_a_reason_and_what_we_lack_a_failure(fake):
    theirs, ours = fake("lacks", optional=True), fake("lacks")
    assert (theirs.status, ours.status) == ("skipped", "failed")
    assert "a_module_that_is_not_there" in theirs.reason
    assert run.all_well([theirs])
    assert not run.all_well([ours])
    written = run.summary("gpu", OPTIONS, [theirs, ours], 1.0)
    assert list(written["peers_not_measured"]) == ["lacks"]
    assert len(written["failed"]) == 1


def test_the_summary_names_what_failed_and_what_was_missed():
    rows = (
        Row(what="wrong", value=math.nan, unit="", kind=CHECK, bound=1.0, more={"error": "it broke"}),
        Row(what="slow", value=50.0, unit="ns", kind=GOAL, bound=10.0),
        Row(what="fast", value=5.0, unit="ns", kind=GOAL, bound=10.0),
        Row(what="seen", value=3.0, unit="ns"),
    )
    outcome = run.Outcome(part="p", status="done", seconds=1.0, rows=rows)
    written = json.loads(json.dumps(run.summary("gpu", OPTIONS, [outcome], 2.0), allow_nan=False))
    assert (written["ok"], written["failed"], written["missed"]) == (False, ["wrong"], ["slow"])
    printed = table("gpu", [outcome], 2.0)
    assert "MISSED slow" in printed
    assert "holds  fast" in printed
    assert "FAILED wrong" in printed
    assert "it broke" in printed
    assert "seen" in printed


def test_the_table_stays_short():
    """The end of the output is what one is sure to see of a run on another machine."""
    rows = tuple(
        Row(what=f"{kind} {number} " + "x" * 200, value=9.0, unit="ns/token/layer", kind=kind, bound=bound)
        for number in range(400)
        for kind, bound in ((CHECK, 1.0), (FIGURE, None))
    )
    assert len(table("gpu", [run.Outcome(part="p", status="done", seconds=1.0, rows=rows)], 2.0)) < 12_000


def test_a_whole_run_writes_its_results(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OUT", str(tmp_path / "out"))
    assert run.main(["--device", "cpu", "--small", "--only", "step-tiny"]) == 0
    written = json.loads((tmp_path / "out" / "gpu.json").read_text())
    assert [part["part"] for part in written["parts"]] == ["machine", "step-tiny"]
    assert written["ok"]
    assert "tiny step, documents" in capsys.readouterr().out


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_without_a_gpu_it_says_so_and_tries_nothing_else(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OUT", str(tmp_path))
    assert run.main([]) == 2
    written = json.loads((tmp_path / "gpu.json").read_text())
    assert len(written["parts"]) == 1
    assert "no CUDA device" in written["failed"][0]
    assert "no CUDA device" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--device", "cpu"], ["--wheels", "/nowhere"], ["--only", "nothing"]])
def test_arguments_that_cannot_be_are_refused(arguments, capsys):
    try:
        code = run.main(arguments)
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    assert capsys.readouterr().err


def test_every_part_can_be_found():
    for part in [*own_parts(small=False, triton=True), *own_parts(small=True, triton=False), *peer_parts(small=False)]:
        module = __import__(part.module, fromlist=["x"])
        assert callable(getattr(module, part.function)), part.name
    assert set(PEERS) == set(peers.PEERS)
    names = [part.name for part in own_parts(small=False, triton=True)]
    assert {f"parity-{size}-{dtype}" for size in ("90m", "0.5b", "1.5b", "34b") for dtype in ("bf16", "fp32")} <= set(
        names
    )
    assert len(names) == len(set(names))


# what may be imported on a machine that has torch, numpy, triton and transformers

THERE = {"torch", "numpy", "triton", "transformers"}
OURS = {"benchmarks", "model_smoke", "pipelines", "tests"}


def test_nothing_else_is_imported_anywhere_it_reaches():
    """Followed through every module of ours, imports inside functions too."""
    waiting = [
        f"benchmarks.gpu.{path.stem}" for path in (ROOT / "benchmarks/gpu").glob("*.py") if path.stem != "__init__"
    ]
    seen, foreign = set(), set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        path = ROOT / Path(*name.split("."))
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if not path.exists():  # a name out of a module, not a module
            continue
        for found in _imported(path):
            root = found.split(".")[0]
            if root in OURS:
                waiting.append(found)
                waiting += [".".join(found.split(".")[:depth]) for depth in range(1, found.count(".") + 1)]
            elif root not in THERE | sys.stdlib_module_names:
                foreign.add((name, found))
    assert {
        "model_smoke.training",
        "model_smoke.kernels.ssd",
        "pipelines.tokens.loader",
        "tests.planted_mixtures",
    } <= seen
    assert foreign == set()


def _imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names if node.module.split(".")[0] in OURS)


BLOCKED = """
import importlib, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"ray", "pyarrow", "numba", "datatrove", "fasttext", "rich", "pytest", "tokenizers", "scipy"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
for name in sys.argv[1:]:
    importlib.import_module(name)
print("imported")
"""


def test_everything_imports_where_only_torch_and_numpy_are():
    modules = [f"benchmarks.gpu.{path.stem}" for path in sorted((ROOT / "benchmarks/gpu").glob("*.py"))]
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, *(name for name in modules if not name.endswith("__init__"))],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "imported\n", done.stderr[-2000:]


@pytest.mark.parametrize(
    ("target", "expected"),
    [("gpu", "python9 -m benchmarks.gpu.run"), ("gpu-compare", 'run --compare --wheels "some/folder"')],
)
def test_make_calls_the_machines_own_python(target, expected):
    done = subprocess.run(
        ["make", "-n", target, "GPU_PYTHON=python9", "GPU_WHEELS=some/folder"],
        cwd=ROOT, capture_output=True, text=True, check=True, env={**os.environ, "MAKEFLAGS": ""},
    )  # fmt: skip
    assert expected in done.stdout
    assert ".venv" not in done.stdout
