"""Training: it learns, repeats itself, resumes to the bit, charges every byte, and reads no held-out document."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from model_smoke.backend import choose_backend
from model_smoke.config import SIZES
from model_smoke.evaluation import bits_per_byte, document_bits
from model_smoke.falcon_h1 import FalconH1
from model_smoke.held_out import HeldOutDocument, choose_held_out
from model_smoke.losses import TokenLosses
from model_smoke.optimizer import decays, make_optimizer
from model_smoke.record import RunRecord
from model_smoke.schedule import Schedule
from model_smoke.sources import loader_seed, open_mixture
from model_smoke.training import Resume, TrainOptions, train
from pipelines.errors import ConfigError, InputError
from pipelines.tokens import TokenSource
from tests.token_shards import write_token_shards

VOCAB = 60
CONFIG = dataclasses.replace(
    SIZES["tiny"], vocab_size=VOCAB, num_layers=1, hidden_size=32, num_heads=1, ssm_heads=2, mlp_size=32
)
SMALL = TrainOptions(steps=8, batch_size=2)


@pytest.fixture
def mixture(tmp_path):
    """Two sources in which each token follows from the one before, and a mixture of them."""
    folder = tmp_path / "mixture" / "abc"
    folder.mkdir(parents=True)
    components = []
    for name, sizes in (("web", [40, 30] * 8), ("code", [25] * 12)):
        write_token_shards(tmp_path / name / "def", [sizes], source=name, vocab_size=VOCAB)
        components.append({"name": name, "directory": f"../../{name}/def", "planned_tokens": 100})
    record = {"format": 1, "sequence_length": 32, "seed": None, "held_out": 0.3, "components": components}
    (folder / "mixture.json").write_text(json.dumps(record))
    return folder


def edited(folder, **changes):
    record = json.loads((folder / "mixture.json").read_text())
    (folder / "mixture.json").write_text(json.dumps(record | changes))
    return folder


def run(folder, options=SMALL, **more):
    opened = open_mixture(folder)
    held_out = choose_held_out([opened], max_tokens=400)
    return train(opened, options, held_out.documents, config=CONFIG, **more)[0]


def same(first: RunRecord, second: RunRecord) -> bool:
    return first.as_json() == second.as_json() and np.array_equal(first.bits_after, second.bits_after)


def test_bits_per_byte_go_down(mixture):
    seen = []
    record = run(mixture, TrainOptions(steps=20, batch_size=4), on_step=seen.append)
    before, after = record.bits_before.sum(), record.bits_after.sum()
    assert after < 0.7 * before
    assert record.health["healthy"], record.health["problems"]
    assert record.losses[0] == pytest.approx(math.log(VOCAB), rel=0.1)
    assert before / record.evaluation["bytes"] == pytest.approx(math.log2(VOCAB) / 3, rel=0.1)
    assert set(record.evaluation["after"]["domains"]) == {"web", "code"}
    assert record.trained_tokens == 20 * 4 * 32
    assert [each.step for each in seen] == list(range(1, 21))
    assert seen[0].bits_per_byte == pytest.approx(record.losses[0] / math.log(2) / 3)
    assert "tokens/s" in seen[-1].line()


def test_the_same_run_gives_the_same_numbers_and_leaves_torch_alone(mixture):
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    threads = torch.get_num_threads()
    first, second = run(mixture), run(mixture)
    assert same(first, second)
    assert torch.equal(torch.rand(3), wanted)
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()
    assert run(mixture, dataclasses.replace(SMALL, seed=1)).losses != first.losses
    plain = json.loads(json.dumps(first.as_json()))
    again = RunRecord.from_json(plain, bits_before=first.bits_before, bits_after=first.bits_after)
    assert json.dumps(again.as_json(), sort_keys=True) == json.dumps(first.as_json(), sort_keys=True)
    with pytest.raises(InputError, match="format 99"):
        RunRecord.from_json(plain | {"format": 99}, bits_before=first.bits_before, bits_after=first.bits_after)


class Killed(Exception):
    pass


def test_an_interrupted_run_ends_with_the_bits_of_one_that_was_not(mixture, tmp_path):
    whole = run(mixture)
    resume = Resume(path=tmp_path / "work" / "run.npz", every=3)

    def kill(progress):
        if progress.step == 5:
            raise Killed

    with pytest.raises(Killed):
        run(mixture, resume=resume, on_step=kill)
    assert [path.name for path in resume.path.parent.iterdir()] == ["run.npz"]
    with pytest.raises(InputError, match=r"run\.npz: written by a run with options"):
        run(mixture, dataclasses.replace(SMALL, steps=9), resume=resume)
    steps = []
    resumed = run(mixture, resume=resume, on_step=lambda progress: steps.append(progress.step))
    assert steps == [4, 5, 6, 7, 8]
    assert same(resumed, whole)
    assert np.array_equal(resumed.bits_before, whole.bits_before)
    assert not resume.path.exists()


def test_a_damaged_checkpoint_is_named(mixture, tmp_path):
    path = tmp_path / "run.npz"
    path.write_bytes(b"PK\x03\x04 not much of an archive")
    with pytest.raises(InputError, match=r"run\.npz: not a readable checkpoint"):
        run(mixture, resume=Resume(path=path))


def test_micro_batches_change_rounding_and_nothing_else(mixture):
    at_once = run(mixture, dataclasses.replace(SMALL, batch_size=4))
    in_parts = run(mixture, dataclasses.replace(SMALL, batch_size=4, tokens_at_once=33))
    assert in_parts.losses == pytest.approx(at_once.losses, rel=1e-3)
    assert in_parts.gradient_norms[0] == pytest.approx(at_once.gradient_norms[0], rel=1e-4)
    assert in_parts.losses != at_once.losses


def test_held_out_documents_are_not_trained_on(mixture):
    """Every held-out document of this artifact is overwritten; the loss curve stays the same."""
    before = run(mixture)
    for name in ("web", "code"):
        folder = mixture.parent.parent / name / "def"
        keys = np.load(folder / "document_keys" / "s0.npy")
        starts = np.load(folder / "documents" / "s0.npy")
        tokens = np.load(folder / "tokens" / "s0.npy")
        for row in np.flatnonzero(keys < np.uint64(int(0.3 * 2**64))):
            tokens[starts[row] : starts[row + 1] - 1] = 50
        np.save(folder / "tokens" / "s0.npy", tokens)
    after = run(mixture)
    assert after.losses == before.losses
    assert not np.array_equal(after.bits_after, before.bits_after)


class Uniform:
    """Charges every counted target one nat, whatever it reads."""

    def loss(self, tokens, document, targets, *, z_loss=0.0):
        nats = (targets >= 0).float()
        return TokenLosses(total=nats.sum(), nats=nats, num_targets=(targets >= 0).sum())


@pytest.mark.parametrize("length", [1, 3, 7, 64])
def test_windows_charge_every_token_once(length):
    documents = [np.arange(size, dtype=np.int64) % VOCAB for size in (1, 2, 7, 8, 9, 40, 3)]
    bits = document_bits(Uniform(), documents, length=length, vocab_size=VOCAB)
    expected = [math.log2(VOCAB) + (len(document) - 1) / math.log(2) for document in documents]
    assert bits == pytest.approx(expected, rel=1e-6)


def test_a_document_costs_the_same_alone_and_packed():
    model = FalconH1(CONFIG, seed=3)
    random = np.random.default_rng(0)
    documents = [random.integers(0, VOCAB, size) for size in (5, 20, 13, 33)]
    together = document_bits(model, documents, length=40, vocab_size=VOCAB)
    alone = [document_bits(model, [each], length=40, vocab_size=VOCAB)[0] for each in documents]
    assert together == pytest.approx(alone, rel=1e-5)


def test_bits_per_byte_weighs_by_bytes():
    documents = [
        HeldOutDocument(key=n, domain=d, num_bytes=size, places={}, language=lang)
        for n, (d, size, lang) in enumerate([("a", 10, "en"), ("a", 30, "de"), ("b", 60, None)])
    ]
    found = bits_per_byte(np.array([10.0, 60.0, 30.0]), documents)
    assert found["all"] == 1.0
    assert found["domains"]["a"] == {"bits_per_byte": 70 / 40, "documents": 2, "bytes": 40}
    assert set(found["languages"]) == {"de", "en"}


def test_schedule_warms_up_stays_and_ends_at_an_eighth():
    plan = Schedule(peak=2.0, steps=100, warmup_steps=10, decay_steps=40)
    rates = [plan.rate(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[9:60] == [2.0] * 51
    assert rates[-1] == pytest.approx(0.25)
    assert all(later < earlier for earlier, later in itertools.pairwise(rates[59:]))
    with pytest.raises(ConfigError, match="do not fit into 5 steps"):
        Schedule(peak=1.0, steps=5, warmup_steps=3, decay_steps=3)


def test_only_matrices_decay():
    model = FalconH1(CONFIG)
    kept = {name for name, parameter in model.named_parameters() if not decays(name, parameter)}
    assert {name.rsplit(".", 1)[-1] for name in kept} >= {"A_log", "D", "dt_bias", "bias"}
    assert all("norm" in name or "conv1d" in name or name.endswith(("A_log", ".D", "dt_bias")) for name in kept)
    groups = make_optimizer(model, weight_decay=0.1).param_groups
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0]
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))


def test_given_documents_must_not_be_trained_on(mixture, tmp_path):
    opened = open_mixture(mixture)
    fresh = write_token_shards(tmp_path / "judge" / "xyz", [[20] * 5], source="judge", vocab_size=VOCAB)
    chosen = choose_held_out([opened], max_tokens=1000, given=[("judge", TokenSource(fresh))])
    assert [document.domain for document in chosen.documents] == ["judge"] * 5
    with pytest.raises(InputError, match=r"of the 12 held-out documents of 'code' are trained on in component 'code'"):
        choose_held_out([opened], max_tokens=1000, given=[("code", TokenSource(tmp_path / "code" / "def"))])
    other = write_token_shards(tmp_path / "o" / "x", [[9]], source="o", vocab_size=VOCAB, tokenizer="u" * 64)
    with pytest.raises(InputError, match="no held-out artifact given was made by its tokenizer"):
        choose_held_out([opened], max_tokens=1000, given=[("o", TokenSource(other))])


def test_two_mixtures_are_judged_by_what_neither_reads(mixture, tmp_path):
    """B holds out less, and has another version of one document that A holds too: it is judged by neither version."""
    folder = tmp_path / "web2" / "def"
    write_token_shards(folder, [[40, 30] * 8], source="web", vocab_size=VOCAB)
    tokens = np.load(folder / "tokens" / "s0.npy")
    keys = np.load(folder / "document_keys" / "s0.npy")
    starts = np.load(folder / "documents" / "s0.npy")
    lowest = int(np.argmin(keys))
    tokens[starts[lowest] : starts[lowest + 1] - 1] = 50
    np.save(folder / "tokens" / "s0.npy", tokens)
    record = json.loads((mixture / "mixture.json").read_text())
    other = tmp_path / "mixture" / "other"
    other.mkdir()
    parts = [{"name": "web", "directory": "../../web2/def", "planned_tokens": 1}]
    (other / "mixture.json").write_text(json.dumps(record | {"held_out": 0.25, "components": parts}))
    a, b = open_mixture(mixture), open_mixture(other)
    chosen = choose_held_out([a, b], max_tokens=10_000)
    found = {document.key for document in chosen.documents}
    everything = np.concatenate([keys, np.load(tmp_path / "code" / "def" / "document_keys" / "s0.npy")])
    below = {int(key) for key in everything if key < np.uint64(int(0.25 * 2**64))}
    assert found == below - {int(keys[lowest])}
    assert chosen.left_out == {"two_versions": 1}
    smaller = choose_held_out([a, b], max_tokens=80)
    assert {document.key for document in smaller.documents} < found
    assert smaller.left_out["over_budget"] >= 1


def test_what_cannot_be_trained_on_is_named(mixture, tmp_path):
    with pytest.raises(InputError, match=r"mixture\.json: no mixture here"):
        open_mixture(tmp_path)
    with pytest.raises(InputError, match="no held-out document with text"):
        choose_held_out([open_mixture(edited(mixture, held_out=0.0))], max_tokens=100)
    with pytest.raises(InputError, match="not a mixture of format 1"):
        open_mixture(edited(mixture, format=9))
    with pytest.raises(InputError, match="not as a mixture should be"):
        open_mixture(edited(mixture, format=1, components=[{"name": "web"}]))
    (mixture / "mixture.json").write_text("{")
    with pytest.raises(InputError, match="not JSON"):
        open_mixture(mixture)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": "2b"}, "size '2b'"), ({"steps": 0}, "steps = 0"), ({"seed": -1}, "seed = -1"),
        ({"learning_rate": math.nan}, "learning_rate = nan"), ({"decay_share": 1.5}, "decay_share = 1.5"),
        ({"warmup_share": 0.8, "decay_share": 0.8}, "do not fit"), ({"z_loss": -1.0}, "z_loss"),
    ],
)  # fmt: skip
def test_impossible_options_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        TrainOptions(**changes)


def test_a_vocabulary_too_small_is_refused(mixture):
    opened = open_mixture(mixture)
    with pytest.raises(ConfigError, match="cannot read 60"):
        train(opened, SMALL, (), config=dataclasses.replace(CONFIG, vocab_size=20), backend=choose_backend("torch"))


def test_runs_differ_in_order_and_the_first_keeps_the_mixtures():
    assert loader_seed(None, 0) is None
    assert loader_seed(7, 0) == 7
    assert len({loader_seed(None, seed) for seed in range(50)}) == 50


def test_imports_without_ray_datatrove_fasttext_or_arrow():
    code = (
        "import sys; import model_smoke.training, model_smoke.verdict; "
        "print([m for m in ('ray', 'datatrove', 'fasttext', 'pyarrow', 'numba', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
