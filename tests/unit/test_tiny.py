"""The tiny run: it learns, repeats itself exactly, charges every byte, and loads nothing it should not need."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from model_smoke.tiny import TinyRun, tiny_model, train
from pipelines.errors import ConfigError, InputError
from tests.token_shards import write_token_shards

SMALL = TinyRun(steps=12, batch_size=2, hidden_size=32, num_layers=1, eval_tokens=400)
VOCAB = 60


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


def test_bits_per_byte_go_down(mixture):
    record = train(mixture, TinyRun(steps=25, batch_size=4, hidden_size=32, num_layers=1))
    bpb = record["bits_per_byte"]
    assert record["healthy"]
    assert bpb["after"] < 0.7 * bpb["before"]
    assert record["losses"][-1] < record["losses"][0]
    assert record["losses"][0] == pytest.approx(math.log(VOCAB), rel=0.1)
    assert set(bpb["components"]) == {"web", "code"}
    total = sum(part["bytes"] for part in bpb["components"].values())
    assert bpb["after"] == pytest.approx(sum(p["after"] * p["bytes"] for p in bpb["components"].values()) / total)
    assert record["trained_tokens"] == 25 * 4 * 32
    assert len(record["losses"]) == 25


def test_before_training_a_document_costs_about_a_uniform_code(mixture):
    """Untrained, each token costs about log2 of the vocabulary; a token stands for three bytes in these shards."""
    before = train(mixture, SMALL)["bits_per_byte"]["before"]
    assert before == pytest.approx(math.log2(VOCAB) / 3, rel=0.1)


def test_windows_charge_every_token_once(mixture):
    """With windows longer than any document, and with short ones, an untrained uniform model gives the same code length."""
    short, long = (train(edited(mixture, sequence_length=n), SMALL)["bits_per_byte"]["components"] for n in (8, 128))
    assert {k: (v["documents"], v["bytes"]) for k, v in short.items()} == {
        k: (v["documents"], v["bytes"]) for k, v in long.items()
    }
    for name, part in short.items():
        assert part["before"] == pytest.approx(long[name]["before"], rel=0.05)


def test_the_same_run_gives_the_same_numbers_and_leaves_torch_alone(mixture):
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    threads = torch.get_num_threads()
    first, second = train(mixture, SMALL), train(mixture, SMALL)
    assert first == second
    assert torch.equal(torch.rand(3), wanted)
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()
    assert train(mixture, TinyRun(**{**SMALL.__dict__, "seed": 1}))["losses"] != first["losses"]
    assert json.loads(json.dumps(first)) == first


def test_embeddings_are_tied_and_the_default_has_a_few_hundred_thousand_parameters():
    model = tiny_model(4096, TinyRun(), max_length=257)
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert 300_000 < sum(p.numel() for p in model.parameters()) < 500_000


def test_held_out_documents_are_not_trained_on(mixture, monkeypatch):
    """Every held-out document of this artifact is overwritten; the loss curve stays the same."""
    before = train(mixture, SMALL)
    for name in ("web", "code"):
        folder = mixture.parent.parent / name / "def"
        keys = np.load(folder / "document_keys" / "s0.npy")
        starts = np.load(folder / "documents" / "s0.npy")
        tokens = np.load(folder / "tokens" / "s0.npy")
        for row in np.flatnonzero(keys < np.uint64(int(0.3 * 2**64))):
            tokens[starts[row] : starts[row + 1] - 1] = 50
        np.save(folder / "tokens" / "s0.npy", tokens)
    after = train(mixture, SMALL)
    assert after["losses"] == before["losses"]
    assert after["bits_per_byte"]["after"] != before["bits_per_byte"]["after"]


def test_what_cannot_be_trained_on_is_named(mixture, tmp_path):
    with pytest.raises(InputError, match=r"mixture\.json: no mixture here"):
        train(tmp_path)
    with pytest.raises(InputError, match="no held-out document"):
        train(edited(mixture, held_out=0.0), SMALL)
    with pytest.raises(InputError, match="not a mixture of format 1"):
        train(edited(mixture, format=9), SMALL)
    (mixture / "mixture.json").write_text("{")
    with pytest.raises(InputError, match="not JSON"):
        train(mixture, SMALL)


def test_impossible_sizes_are_refused():
    with pytest.raises(ConfigError, match="multiple of 32"):
        TinyRun(hidden_size=48)
    with pytest.raises(ConfigError, match="steps = 0"):
        TinyRun(steps=0)


def test_imports_without_ray_datatrove_fasttext_or_arrow():
    code = (
        "import sys; import model_smoke.tiny; "
        "print([m for m in ('ray', 'datatrove', 'fasttext', 'pyarrow', 'numba') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
