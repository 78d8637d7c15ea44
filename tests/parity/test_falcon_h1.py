"""Our Falcon-H1 against transformers' own, on the CPU in float32: state dicts, logits, gradients and thirty steps of training.

Run by hand against another version with PYTHONPATH naming a folder that holds it (5.17.0 and 5.23.0 were both tried).
"""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
import transformers
from torch.nn import functional

from model_smoke.config import PUBLISHED_0_5B, SIZES, FalconH1Config, Multipliers
from model_smoke.falcon_h1 import FalconH1

SMALL = FalconH1Config(
    vocab_size=160, num_layers=3, hidden_size=48, num_heads=4, num_kv_heads=2, head_dim=16, ssm_heads=6, ssm_head_dim=16,
    ssm_state=8, mlp_size=80, chunk=16, multipliers=PUBLISHED_0_5B,
)  # fmt: skip
# every multiplier another number, so that none can stand in another's place
DISTINCT = Multipliers(
    embedding=3.1, lm_head=0.7, attention_in=1.3, key=0.6, attention_out=0.8, ssm_in=1.2, ssm_z=0.9, ssm_x=1.1, ssm_b=0.55,
    ssm_c=1.45, ssm_dt=0.65, ssm_out=0.75, mlp_gate=1.15, mlp_down=0.85,
)  # fmt: skip
VARIANTS = {
    "0.5b's multipliers": SMALL,
    "every multiplier different": replace(SMALL, multipliers=DISTINCT),
    "tied": replace(SMALL, tied=True),
    "two groups": replace(SMALL, ssm_groups=2),
    "gated norm": replace(SMALL, gated_norm=True),
    "two groups, gated norm, tied": replace(SMALL, ssm_groups=2, gated_norm=True, tied=True, multipliers=DISTINCT),
    "one head each": replace(SMALL, num_heads=1, num_kv_heads=1, ssm_heads=1, multipliers=Multipliers()),
}


@pytest.fixture(autouse=True)
def _one_thread_and_quiet():
    threads, level = torch.get_num_threads(), transformers.utils.logging.get_verbosity()
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    yield
    torch.set_num_threads(threads)
    transformers.utils.logging.set_verbosity(level)


def transformers_config(config):
    m = config.multipliers
    return transformers.FalconH1Config(
        vocab_size=config.vocab_size, hidden_size=config.hidden_size, intermediate_size=config.mlp_size,
        num_hidden_layers=config.num_layers, num_attention_heads=config.num_heads,
        num_key_value_heads=config.num_kv_heads, head_dim=config.head_dim, mamba_d_ssm=config.ssm_size,
        mamba_n_heads=config.ssm_heads, mamba_d_head=config.ssm_head_dim, mamba_d_state=config.ssm_state,
        mamba_n_groups=config.ssm_groups, mamba_d_conv=4, mamba_chunk_size=16, mamba_norm_before_gate=False,
        mamba_rms_norm=config.gated_norm, rms_norm_eps=config.norm_eps, tie_word_embeddings=config.tied,
        rope_parameters={"rope_type": "default", "rope_theta": config.rope_base}, max_position_embeddings=256,
        use_cache=False, pad_token_id=None, bos_token_id=None, eos_token_id=None,
        embedding_multiplier=m.embedding, lm_head_multiplier=m.lm_head, attention_in_multiplier=m.attention_in,
        key_multiplier=m.key, attention_out_multiplier=m.attention_out, ssm_in_multiplier=m.ssm_in,
        ssm_multipliers=list(m.ssm_slices), ssm_out_multiplier=m.ssm_out, mlp_multipliers=[m.mlp_gate, m.mlp_down],
    )  # fmt: skip


def both(config, *, seed=0):
    """Our model with weights large enough that every path matters, and transformers' with the same."""
    ours = FalconH1(replace(config, initializer_range=0.2), seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in ours.named_parameters():
            if "norm" in name or name.endswith((".D", ".A_log")):
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
            elif name.endswith("dt_bias"):  # larger steps, with which the state matters as much as the skip
                parameter.add_(3.0)
    theirs = transformers.FalconH1ForCausalLM(transformers_config(config)).train()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    return ours, theirs


def random_tokens(config, *shape, seed=1):
    return torch.randint(config.vocab_size, shape, generator=torch.Generator().manual_seed(seed))


def relative(ours, theirs):
    return float(((ours - theirs).norm() / theirs.norm()).detach())


def their_loss(model, tokens):
    logits = model(input_ids=tokens[:, :-1]).logits
    return logits, functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())


@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_and_gradients(variant):
    """Logits to 1e-5, gradients of every parameter to 1e-4, relative; our loss is the chunked one."""
    config = VARIANTS[variant]
    ours, theirs = both(config)
    tokens = random_tokens(config, 2, 70)
    logits, their_objective = their_loss(theirs, tokens)
    assert relative(ours(tokens[:, :-1]), logits) < 1e-5

    objective = ours.loss(tokens[:, :-1], None, tokens[:, 1:], z_loss=0.0).mean()
    assert objective.item() == pytest.approx(their_objective.item(), rel=1e-6)
    objective.backward()
    their_objective.backward()
    expected = dict(theirs.named_parameters())
    assert set(expected) == {name for name, _ in ours.named_parameters()}
    errors = {name: relative(each.grad, expected[name].grad) for name, each in ours.named_parameters()}
    assert {name: error for name, error in errors.items() if not error < 1e-4} == {}


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_comparison_sees_each_part(variant):
    """A test of the test: make one parameter of each kind a half larger and the logits differ by more than the tolerance."""
    ours, _ = both(VARIANTS[variant])
    tokens = random_tokens(ours.config, 2, 70)
    with torch.no_grad():
        before = ours(tokens)
        for name, parameter in ours.named_parameters():
            if "layers.1." not in name:
                continue
            kept = parameter.clone()
            parameter.mul_(1.5)
            assert relative(ours(tokens), before) > 1e-4, name
            parameter.copy_(kept)


@pytest.mark.parametrize("variant", ["0.5b's multipliers", "every multiplier different", "gated norm"])
def test_bfloat16_is_as_near_to_float64_as_transformers_is(variant):
    """Their model cast to bfloat16 is the yardstick; ours keeps float32 masters, residual stream and norms."""
    config = VARIANTS[variant]
    ours, theirs = both(config)
    tokens = random_tokens(config, 2, 70)
    with torch.no_grad():
        exact, narrow = (FalconH1(config, compute_dtype=each) for each in (torch.float64, torch.bfloat16))
        exact.load_state_dict(ours.state_dict())
        narrow.load_state_dict(ours.state_dict())
        expected = exact(tokens)
        assert expected.dtype == torch.float64
        assert relative(ours(tokens), expected) < 1e-5
        yardstick = relative(theirs.bfloat16()(input_ids=tokens).logits.double(), expected)
        assert 1e-4 < relative(narrow(tokens), expected) < yardstick


@pytest.mark.parametrize("variant", ["0.5b's multipliers", "two groups, gated norm, tied"])
def test_state_dicts_load_both_ways(variant):
    config = VARIANTS[variant]
    ours, theirs = both(config)
    assert {name: each.shape for name, each in ours.state_dict().items()} == {
        name: each.shape for name, each in theirs.state_dict().items()
    }
    fresh = FalconH1(config, seed=9)
    tokens = random_tokens(config, 1, 20)
    with torch.no_grad():
        assert not torch.equal(fresh(tokens), ours(tokens))
        fresh.load_state_dict(theirs.state_dict(), strict=True)
        assert torch.equal(fresh(tokens), ours(tokens))


@pytest.mark.parametrize("size", SIZES)
def test_names_and_shapes_at_every_size(size):
    """On the meta device, from the 90M to the 34B: transformers' names and shapes."""
    with torch.device("meta"):
        theirs = transformers.FalconH1ForCausalLM(transformers_config(SIZES[size]))
    ours = FalconH1.from_size(size, device="meta")
    assert {name: each.shape for name, each in ours.state_dict().items()} == {
        name: each.shape for name, each in theirs.state_dict().items()
    }


@pytest.mark.parametrize(
    ("variant", "learning_rate"), [("0.5b's multipliers", 1e-2), ("two groups, gated norm, tied", 3e-3)]
)
def test_thirty_steps_of_adamw(variant, learning_rate):
    """The same batches and optimizer: the loss curves stay together within 1e-3, and both learn."""
    config = VARIANTS[variant]
    ours, theirs = both(config)
    curves = []
    for model in (ours, theirs):
        model = copy.deepcopy(model)
        optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, betas=(0.9, 0.95), weight_decay=0.1)
        losses = []
        for step in range(30):
            tokens = random_tokens(config, 2, 41, seed=step % 3)
            if model.__class__ is FalconH1:
                loss = model.loss(tokens[:, :-1], None, tokens[:, 1:], z_loss=0.0).mean()
            else:
                loss = their_loss(model, tokens)[1]
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            losses.append(float(loss.detach()))
        curves.append(losses)
    assert curves[0][-1] < curves[0][0] - 0.4
    assert curves[0] == pytest.approx(curves[1], abs=1e-3)
