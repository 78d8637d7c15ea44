"""Our Falcon-H1 by itself: sizes, documents that do not see each other, first weights, losses in chunks."""

from __future__ import annotations

import copy
import json
import math
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from model_smoke.attention import attend, make_layout, rotate
from model_smoke.config import PUBLISHED_0_5B, SIZES, FalconH1Config, Multipliers, size_config
from model_smoke.falcon_h1 import MAX_DT, MIN_DT, FalconH1
from model_smoke.kernels import document_starts
from model_smoke.losses import IGNORED, cross_entropy
from pipelines.errors import ConfigError, InputError

SMALL = FalconH1Config(
    vocab_size=61, num_layers=2, hidden_size=24, num_heads=4, num_kv_heads=2, head_dim=8, ssm_heads=4, ssm_head_dim=8,
    ssm_state=4, ssm_groups=2, mlp_size=40, chunk=8, gated_norm=True, initializer_range=0.3, multipliers=PUBLISHED_0_5B,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def small_model(**changes):
    """In float64, with steps large enough that the state matters."""
    model = FalconH1(replace(SMALL, **changes), compute_dtype=torch.float64)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.mamba.dt_bias.add_(3.0)
    return model


def random_tokens(*shape, seed=0, vocab=SMALL.vocab_size):
    return torch.randint(vocab, shape, generator=torch.Generator().manual_seed(seed))


# --- sizes


@pytest.mark.parametrize(
    ("size", "printed", "digits"),
    [("0.5b", 0.5214, 4), ("1.5b", 1.5548, 4), ("1.5b-deep", 1.5549, 4), ("3b", 3.149, 3), ("7b", 7.586, 3), ("34b", 33.64, 2)],
)  # fmt: skip
def test_published_sizes_count_what_the_report_prints(size, printed, digits):
    model = FalconH1.from_size(size, device="meta")
    counted = sum(each.numel() for each in model.parameters())
    assert round(counted / 1e9, digits) == printed
    assert counted == SIZES[size].num_parameters()
    assert {each.device.type for each in model.parameters()} == {"meta"}


def test_the_count_says_which_1_5b_has_a_gated_norm():
    """The two differ by ten million words of width 2,048 or 1,536 x 66: enough for the fourth digit."""
    for size, other in (("1.5b", True), ("1.5b-deep", False)):
        assert SIZES[size].gated_norm is not other
        printed = round(SIZES[size].num_parameters() / 1e9, 4)
        assert round(replace(SIZES[size], gated_norm=other).num_parameters() / 1e9, 4) != printed


def test_our_own_sizes():
    assert [round(SIZES[size].num_parameters(), -3) for size in ("tiny", "90m")] == [392_000, 89_373_000]
    assert list(SIZES) == ["tiny", "90m", "0.5b", "1.5b", "1.5b-deep", "3b", "7b", "34b"]
    assert [size for size, config in SIZES.items() if config.multipliers.published] == ["0.5b"]
    assert all(config.multipliers == Multipliers() for size, config in SIZES.items() if size != "0.5b")


@given(
    vocab=st.integers(1, 90), layers=st.integers(1, 3), width=st.integers(1, 20), kv=st.integers(1, 2),
    served=st.integers(1, 3), groups=st.integers(1, 3), per_group=st.integers(1, 3), state=st.integers(1, 5),
    gated=st.booleans(), tied=st.booleans(),
)  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_parameters_are_counted_without_a_model(
    vocab, layers, width, kv, served, groups, per_group, state, gated, tied
):
    config = FalconH1Config(
        vocab_size=vocab, num_layers=layers, hidden_size=width, num_heads=kv * served, num_kv_heads=kv, head_dim=4,
        ssm_heads=groups * per_group, ssm_head_dim=3, ssm_state=state, ssm_groups=groups, mlp_size=width + 1,
        gated_norm=gated, tied=tied,
    )  # fmt: skip
    assert config.num_parameters() == sum(each.numel() for each in FalconH1(config, device="meta").parameters())


def test_operations_per_token():
    """0.5B: six a weight of every product, untied output layer included, plus what grows with the length."""
    config = SIZES["0.5b"]
    rest = config.flops_per_token(1) - 6 * config.num_parameters()
    assert abs(rest) / config.flops_per_token(1) < 0.07  # the embedding is not multiplied, the state adds a little
    grown = config.flops_per_token(4097) - config.flops_per_token(1)
    assert grown == 4096 * 6 * 36 * 8 * 64


def test_what_does_not_fit_together_is_refused():
    with pytest.raises(ConfigError, match=r"'0\.6b': give one of tiny, 90m"):
        FalconH1.from_size("0.6b")
    with pytest.raises(ConfigError, match="num_heads = 4 is no multiple of num_kv_heads = 3"):
        replace(SMALL, num_kv_heads=3)
    with pytest.raises(ConfigError, match="ssm_heads = 4 is no multiple of ssm_groups = 3"):
        replace(SMALL, ssm_groups=3)
    with pytest.raises(ConfigError, match="head_dim = 7"):
        replace(SMALL, head_dim=7)
    with pytest.raises(ConfigError, match="num_layers = 0: give at least 1"):
        replace(SMALL, num_layers=0)
    with pytest.raises(ConfigError, match="norm_eps = nan"):
        replace(SMALL, norm_eps=math.nan)
    with pytest.raises(ConfigError, match="multiplier key = inf"):
        Multipliers(key=math.inf)
    with pytest.raises(ConfigError, match="backend = 'cuda'"):
        FalconH1(SMALL, backend="cuda")
    with pytest.raises(ConfigError, match=r"float16: give bfloat16"):
        FalconH1(SMALL, compute_dtype=torch.float16)
    model = small_model()
    with pytest.raises(InputError, match=r"tokens \(5,\)"):
        model(random_tokens(5))
    with pytest.raises(InputError, match=r"tokens \(2, 5\), document \(2, 4\)"):
        model(random_tokens(2, 5), torch.zeros(2, 4, dtype=torch.int32))


# --- documents


@given(
    lengths=st.lists(st.integers(1, 23), min_size=1, max_size=5),
    gated=st.booleans(),
    seed=st.integers(0, 5),
    data=st.data(),
)
@settings(max_examples=20, deadline=None)
def test_packed_equals_separate(lengths, gated, seed, data):
    """Logits and gradients of documents packed into a row are those of each by itself, whatever their numbers are."""
    torch.set_num_threads(1)
    model = small_model(gated_norm=gated)
    tokens = [random_tokens(1, length, seed=seed * 10 + k) for k, length in enumerate(lengths)]
    targets = [random_tokens(1, length, seed=seed * 10 + k + 100) for k, length in enumerate(lengths)]
    numbers = [data.draw(st.integers(0, 2))]
    for _ in lengths[1:]:
        numbers.append(data.draw(st.integers(0, 3).filter(lambda number: number != numbers[-1])))
    document = torch.cat(
        [torch.full((1, n), k, dtype=torch.int32) for k, n in zip(numbers, lengths, strict=True)], dim=1
    )
    packed = model(torch.cat(tokens, dim=1), document)
    separate = torch.cat([model(each) for each in tokens], dim=1)
    torch.testing.assert_close(packed, separate, rtol=1e-6, atol=1e-8)

    gradients = []
    for losses in (
        [model.loss(torch.cat(tokens, dim=1), document, torch.cat(targets, dim=1))],
        [model.loss(each, None, target) for each, target in zip(tokens, targets, strict=True)],
    ):
        model.zero_grad()
        torch.stack([loss.total for loss in losses]).sum().backward()
        gradients.append({name: each.grad.clone() for name, each in model.named_parameters()})
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-5)


def test_a_token_changes_nothing_before_it_and_nothing_in_other_documents():
    """Each later token of its own document changes; all others stay, but for the last bits (in the chunked scan, sums of log
    decays run through a whole chunk and round differently: below 1e-12 here, where what is seen moves logits by over 1e-8).
    """
    model = small_model()
    document = torch.tensor([[0] * 11 + [1] * 9 + [2] * 12], dtype=torch.int32)
    tokens = random_tokens(1, 32)
    before = model(tokens, document)
    for place in (0, 10, 11, 15, 19, 20, 31):
        changed = tokens.clone()
        changed[0, place] = (changed[0, place] + 1) % SMALL.vocab_size
        difference = (model(changed, document) - before).abs().amax(dim=-1)[0].detach()
        moved = difference > 1e-8
        assert float(difference[~moved].amax()) < 1e-12
        expected = (document[0] == document[0, place]) & (torch.arange(32) >= place)
        assert torch.equal(moved, expected), place


def test_without_document_numbers_a_row_is_one_document():
    model = small_model()
    tokens = random_tokens(2, 19)
    with torch.no_grad():
        torch.testing.assert_close(model(tokens), model(tokens, torch.full((2, 19), 7, dtype=torch.int32)))


def test_both_paths_carry_over_more_than_a_window():
    """The first token still changes the last of 40 through the scan alone, and through attention alone."""
    for cut in ("self_attn.o_proj", "mamba.out_proj"):
        model = small_model()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if cut in name:
                    parameter.zero_()
            tokens = random_tokens(1, 40)
            changed = tokens.clone()
            changed[0, 0] = (changed[0, 0] + 1) % SMALL.vocab_size
            assert not torch.equal(model(tokens)[0, -1], model(changed)[0, -1]), cut


# --- attention


def test_rope_turns_pairs_and_starts_again_with_each_document():
    """Dimension i pairs with i + head_dim / 2; with base 1e11 and head_dim 4 the angles are p and p / sqrt(1e11)."""
    starts = document_starts(torch.tensor([[0, 0, 0, 1, 1]]))
    layout = make_layout(starts, length=5, head_dim=4, rope_base=1e11, device=torch.device("cpu"), dtype=torch.float64)
    x = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64).expand(1, 5, 1, 4)
    turned = rotate(x, layout)[0, :, 0]
    for place, position in enumerate([0, 1, 2, 0, 1]):
        a, b = position, position / math.sqrt(1e11)
        expected = [
            math.cos(a) - 3 * math.sin(a), 2 * math.cos(b) - 4 * math.sin(b),
            3 * math.cos(a) + math.sin(a), 4 * math.cos(b) + 2 * math.sin(b),
        ]  # fmt: skip
        assert turned[place].tolist() == pytest.approx(expected, abs=1e-12)


@given(st.integers(1, 20), st.integers(1, 3), st.integers(1, 3), st.lists(st.integers(0, 1), min_size=20, max_size=20))
@settings(max_examples=25, deadline=None)
def test_attention_against_loops(length, kv_heads, served, changes):
    generator = torch.Generator().manual_seed(length)
    heads = kv_heads * served
    query, key, value = (
        torch.randn(1, length, n, 6, dtype=torch.float64, generator=generator) for n in (heads, kv_heads, kv_heads)
    )
    document = torch.tensor(changes[:length]).cumsum(0)[None]
    layout = make_layout(
        document_starts(document), length=length, head_dim=6, rope_base=1e4, device=query.device, dtype=torch.float64
    )
    mixed = attend(query, key, value, layout).view(1, length, heads, 6)
    turned_query, turned_key = rotate(query, layout), rotate(key, layout)
    for t in range(length):
        seen = [s for s in range(t + 1) if document[0, s] == document[0, t]]
        for head in range(heads):
            of = head // served
            weights = (
                torch.stack([turned_query[0, t, head] @ turned_key[0, s, of] for s in seen]).div(6**0.5).softmax(0)
            )
            expected = sum(w * value[0, s, of] for w, s in zip(weights, seen, strict=True))
            torch.testing.assert_close(mixed[0, t, head], expected)


# --- first weights


def test_first_weights():
    model = FalconH1(replace(SMALL, ssm_heads=400, ssm_head_dim=1, ssm_groups=1, initializer_range=0.02))
    mixer = model.model.layers[0].mamba
    dt = functional.softplus(mixer.dt_bias.detach().double())
    assert float(dt.min()) >= MIN_DT * 0.999
    assert float(dt.max()) <= MAX_DT * 1.001
    share_below_a_hundredth = float((dt < 1e-2).double().mean())
    assert share_below_a_hundredth == pytest.approx(0.5, abs=0.1)  # log-uniform: half of the 400 below the middle
    assert mixer.A_log.tolist() == pytest.approx([math.log(k) for k in range(1, 401)])
    assert mixer.D.eq(1).all()
    assert mixer.conv1d.weight.abs().max() <= 0.5
    assert float(mixer.conv1d.weight.std().detach()) == pytest.approx(0.5 / 3**0.5, rel=0.1)
    assert float(mixer.in_proj.weight.std().detach()) == pytest.approx(0.02, rel=0.05)
    assert model.model.final_layernorm.weight.eq(1).all()
    assert {each.dtype for each in model.parameters()} == {torch.float32}


def test_a_seed_names_its_weights():
    """The same seed the same weights, another seed others; another layer moves none; torch's own stream is left alone."""
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    first, again, other = FalconH1(SMALL, seed=1), FalconH1(SMALL, seed=1), FalconH1(SMALL, seed=2)
    deeper = FalconH1(replace(SMALL, num_layers=5), seed=1).state_dict()
    assert torch.equal(torch.rand(2), expected)
    for name, parameter in first.state_dict().items():
        assert torch.equal(parameter, again.state_dict()[name])
        assert torch.equal(parameter, deeper[name])
    drawn = [name for name, each in first.named_parameters() if each.unique().numel() > 1 and "A_log" not in name]
    assert drawn
    assert not any(torch.equal(first.state_dict()[name], other.state_dict()[name]) for name in drawn)
    alike = first.model.layers[0].mamba.in_proj.weight, first.model.layers[1].mamba.in_proj.weight
    assert not torch.equal(*alike)


def test_tied_stays_tied():
    model = FalconH1(replace(SMALL, tied=True))
    for each in (model, copy.deepcopy(model), model.double()):
        assert each.lm_head.weight is each.model.embed_tokens.weight
    assert "lm_head.weight" in model.state_dict()
    assert len(list(model.parameters())) == len(list(FalconH1(SMALL).parameters())) - 1


def test_another_vocabulary():
    assert size_config("tiny", vocab_size=77) == replace(SIZES["tiny"], vocab_size=77)
    model = FalconH1.from_size("tiny", vocab_size=77)
    assert model(random_tokens(1, 3, vocab=77)).shape == (1, 3, 77)


def test_bfloat16_computes_and_float32_keeps():
    model = FalconH1(SMALL, compute_dtype=torch.bfloat16)
    tokens = random_tokens(2, 17)
    assert model.hidden(tokens).dtype == torch.bfloat16
    assert model(tokens).dtype == torch.float32
    objective = model(tokens, None, random_tokens(2, 17, seed=1))
    objective.backward()
    assert objective.dtype == torch.float32
    assert {each.grad.dtype for each in model.parameters()} == {torch.float32}
    assert all(each.grad.isfinite().all() for each in model.parameters())


# --- losses


@given(
    tokens=st.integers(1, 40), vocab=st.integers(1, 30), at_once=st.integers(1, 400), z_loss=st.sampled_from([0.0, 1e-4, 0.3]),
    ignored=st.sets(st.integers(0, 39)), upstream=st.floats(-2, 2),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_chunks_give_what_all_logits_at_once_give(tokens, vocab, at_once, z_loss, ignored, upstream):
    generator = torch.Generator().manual_seed(tokens)
    hidden = torch.randn(tokens, 5, dtype=torch.float64, generator=generator).requires_grad_()
    weight = torch.randn(vocab, 5, dtype=torch.float64, generator=generator).requires_grad_()
    targets = torch.randint(vocab, (tokens,), generator=generator)
    targets[[place for place in ignored if place < tokens]] = IGNORED
    losses = cross_entropy(hidden, weight, targets, z_loss=z_loss, logits_at_once=at_once)
    (losses.total * upstream).backward()
    got = losses.total.detach(), losses.nats, hidden.grad.clone(), weight.grad.clone()

    hidden.grad = weight.grad = None
    logits = hidden @ weight.T
    nats = functional.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="none")
    total = nats.sum() + z_loss * (logits.logsumexp(-1).square() * (targets != IGNORED)).sum()
    (total * upstream).backward()
    torch.testing.assert_close(got, (total.detach(), nats.detach(), hidden.grad, weight.grad))
    assert int(losses.num_targets) == int((targets != IGNORED).sum())


def test_uniform_logits_cost_log_of_the_vocabulary():
    """Zero weights: every token costs ln 8, and log Z is ln 8 too, so the z-loss adds z (ln 8)^2 a token."""
    losses = cross_entropy(
        torch.ones(2, 3, 4), torch.zeros(8, 4), torch.tensor([[0, 1, 2], [3, IGNORED, 7]]), z_loss=0.1
    )
    assert losses.total.item() == pytest.approx(5 * (math.log(8) + 0.1 * math.log(8) ** 2), rel=1e-6)
    assert losses.nats.flatten().tolist() == pytest.approx([math.log(8)] * 4 + [0.0, math.log(8)], rel=1e-6)
    assert losses.mean().item() == pytest.approx(math.log(8) + 0.1 * math.log(8) ** 2, rel=1e-6)


def test_nothing_counted_costs_nothing():
    hidden = torch.ones(3, 4, requires_grad=True)
    losses = cross_entropy(hidden, torch.ones(8, 4), torch.full((3,), IGNORED), z_loss=1.0)
    losses.mean().backward()
    assert losses.mean().item() == 0.0
    assert hidden.grad.eq(0).all()


def test_the_logits_of_all_tokens_never_exist():
    """Every tensor that the loss makes is looked at: none holds more than the logits of one chunk, or the weights."""

    class Largest(TorchDispatchMode):
        numel = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            made = function(*args, **(kwargs or {}))
            if isinstance(made, torch.Tensor):
                self.numel = max(self.numel, made.numel())
            return made

    hidden, weight = torch.randn(512, 8, requires_grad=True), torch.randn(64, 8, requires_grad=True)
    targets = random_tokens(512, vocab=64)
    with Largest() as whole:
        cross_entropy(hidden, weight, targets, z_loss=1e-4).total.backward()
    with Largest() as chunked:
        cross_entropy(hidden, weight, targets, z_loss=1e-4, logits_at_once=64 * 32).total.backward()
    assert whole.numel == 512 * 64
    assert chunked.numel == 512 * 8


def test_a_target_outside_the_vocabulary_is_named():
    with pytest.raises(ValueError, match="target 8 is outside the vocabulary of 8"):
        cross_entropy(torch.ones(1, 4), torch.ones(8, 4), torch.tensor([8]))
    with pytest.raises(ValueError, match="target -1 is outside"):
        cross_entropy(torch.ones(1, 4), torch.ones(8, 4), torch.tensor([-1]))
    with pytest.raises(ValueError, match="disagree"):
        cross_entropy(torch.ones(2, 4), torch.ones(8, 4), torch.tensor([1]))


def test_evaluation_makes_no_gradients():
    model = small_model()
    tokens = random_tokens(1, 12)
    with torch.no_grad():
        losses = model.loss(tokens, None, tokens)
    assert not losses.total.requires_grad
    expected = functional.cross_entropy(model(tokens)[0], tokens[0], reduction="none")
    torch.testing.assert_close(losses.nats[0], expected.detach())


def test_the_model_needs_neither_cluster_nor_arrow_nor_transformers():
    code = "import sys, json, model_smoke.falcon_h1; print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout)
    assert not {"ray", "pyarrow", "datatrove", "fasttext", "transformers", "triton"} & set(loaded)
