"""transformers' own Falcon-H1, run in bfloat16 on its plain torch path: how far from float64 a good bfloat16 model may be.

Its functions know no documents, so each document goes through alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from benchmarks.gpu.shapes import spans
from model_smoke.config import FalconH1Config

Tensors = dict[str, torch.Tensor]
CHUNK = 128
"""The published 0.5B's `mamba_chunk_size`."""


def theirs() -> Any:
    """transformers' module. Raises ImportError where there is none."""
    from transformers.models.falcon_h1 import modeling_falcon_h1  # heavy, and only the yardstick needs it

    return modeling_falcon_h1


def scan(given: Tensors, documents: torch.Tensor | None) -> torch.Tensor:
    """`mamba2_chunk_scan` on x, dt, A_log, B, C, D, dt_bias; it computes in float32 apart from the step."""
    function = theirs().mamba2_chunk_scan

    def one(rows: slice, tokens: slice) -> torch.Tensor:
        x, dt, b, c = (given[name][rows, tokens] for name in ("x", "dt", "B", "C"))
        return function(
            x, dt, -torch.exp(given["A_log"].float()), b, c, chunk_size=CHUNK, D=given["D"], dt_bias=given["dt_bias"],
            dt_softplus=True,
        ).to(x.dtype)  # fmt: skip

    return _by_document(one, given["x"].shape[0], documents)


def conv(given: Tensors, documents: torch.Tensor | None) -> torch.Tensor:
    """`causal_conv1d_fn` with SiLU."""
    function = theirs().causal_conv1d_fn

    def one(rows: slice, tokens: slice) -> torch.Tensor:
        x = given["x"][rows, tokens].transpose(1, 2)
        return function(x, given["weight"], given["bias"], activation="silu").transpose(1, 2)

    return _by_document(one, given["x"].shape[0], documents)


def norm(given: Tensors, *, groups: int, eps: float) -> torch.Tensor:
    """`FalconH1RMSNorm`, or with z `FalconH1RMSNormGated`, gate first."""
    width = given["x"].shape[-1]
    if "z" in given:
        module = theirs().FalconH1RMSNormGated(width, eps=eps, n_groups=groups, norm_before_gate=False)
        arguments = given["x"], given["z"]
    else:
        module, arguments = theirs().FalconH1RMSNorm(width, eps=eps), (given["x"],)
    return torch.func.functional_call(module, {"weight": given["weight"]}, arguments)


def gate(given: Tensors) -> torch.Tensor:
    """The MLP's gate, rounded between SiLU and product."""
    return given["x"] * torch.nn.functional.silu(given["z"])


def model(config: FalconH1Config, weights: Tensors, *, dtype: torch.dtype, device: str) -> torch.nn.Module:
    """`FalconH1ForCausalLM` with our state dict, in `dtype`."""
    module = theirs()
    m = config.multipliers
    described = module.FalconH1Config(
        vocab_size=config.vocab_size, hidden_size=config.hidden_size, intermediate_size=config.mlp_size,
        num_hidden_layers=config.num_layers, num_attention_heads=config.num_heads,
        num_key_value_heads=config.num_kv_heads, head_dim=config.head_dim, mamba_d_ssm=config.ssm_size,
        mamba_n_heads=config.ssm_heads, mamba_d_head=config.ssm_head_dim, mamba_d_state=config.ssm_state,
        mamba_n_groups=config.ssm_groups, mamba_d_conv=4, mamba_chunk_size=CHUNK, mamba_norm_before_gate=False,
        mamba_rms_norm=config.gated_norm, rms_norm_eps=config.norm_eps, tie_word_embeddings=config.tied,
        rope_parameters={"rope_type": "default", "rope_theta": config.rope_base}, max_position_embeddings=4096,
        use_cache=False, pad_token_id=None, bos_token_id=None, eos_token_id=None, embedding_multiplier=m.embedding,
        lm_head_multiplier=m.lm_head, attention_in_multiplier=m.attention_in, key_multiplier=m.key,
        attention_out_multiplier=m.attention_out, ssm_in_multiplier=m.ssm_in, ssm_multipliers=list(m.ssm_slices),
        ssm_out_multiplier=m.ssm_out, mlp_multipliers=[m.mlp_gate, m.mlp_down],
    )  # fmt: skip
    # rotary angles and the vector of multipliers are buffers in no state dict, so the real module is made on its device
    with torch.device(device):
        made = module.FalconH1ForCausalLM(described)
    made.load_state_dict(weights, strict=True)
    return made.to(dtype).train()


def model_logits(module: torch.nn.Module, tokens: torch.Tensor, documents: torch.Tensor) -> torch.Tensor:
    """Logits [batch, length, vocab], each document by itself."""

    def one(rows: slice, part: slice) -> torch.Tensor:
        return module(input_ids=tokens[rows, part]).logits

    return _by_document(one, tokens.shape[0], documents)


def _by_document(
    one: Callable[[slice, slice], torch.Tensor], batch: int, documents: torch.Tensor | None
) -> torch.Tensor:
    if documents is None:
        return one(slice(None), slice(None))
    rows: list[list[torch.Tensor]] = [[] for _ in range(batch)]
    for row, start, stop in spans(documents):
        rows[row].append(one(slice(row, row + 1), slice(start, stop)))
    return torch.cat([torch.cat(parts, dim=1) for parts in rows])
