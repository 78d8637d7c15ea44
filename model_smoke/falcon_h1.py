"""Falcon-H1 (arXiv 2507.22448) as a module of our own: every layer is attention beside Mamba-2, then a gated MLP.

In: token ids [batch, length] and the document number of each token. Out: logits, or losses where targets are given.
Documents packed into a row do not see each other: attention is masked, positions restart, and the state of the scan and
of the convolution is zero at each document's first token. Parameters bear the names and shapes of transformers' Falcon-H1,
so a state dict loads strictly both ways.

    h = norm(x)      x = x + ssm_out * mamba(ssm_in * h) + attention_out * attention(attention_in * h)
    y = norm(x)      x = x + mlp_down * W_down(W_up(y) * silu(mlp_gate * W_gate(y)))

Parameters are kept in float32. Matrix products, convolution and scan inputs are of `compute_dtype`; the residual stream,
norms, rotary angles, dt, A, decay and states are float32 (the last four in the kernels). muP's multipliers are folded
into the weights, in float32 and before these are rounded: the same function, without a pass over activations.
"""

from __future__ import annotations

import hashlib
import math

import torch
from torch import nn
from torch.nn import functional

from model_smoke.attention import Layout, make_layout
from model_smoke.config import CONV_WIDTH, FalconH1Config, size_config
from model_smoke.kernels import document_starts
from model_smoke.kernels.checks import BACKENDS
from model_smoke.layers import Block, Norm, scaled
from model_smoke.losses import TokenLosses, cross_entropy
from pipelines.errors import ConfigError, InputError

MIN_DT, MAX_DT = 1e-3, 0.1
"""Initial steps of the scan are log-uniform in here (Mamba-2, arXiv 2405.21060): memories of about 10 to 1,000 tokens."""

Z_LOSS = 1e-4
"""Falcon-H1's report."""


class FalconH1(nn.Module):  # type: ignore[misc] # torch carries no types here
    """The whole model. `backend` is "torch" or "triton" (see `model_smoke.backend`), `seed` draws the initial weights.

    The same seed gives the same weights on every device, whatever torch's global random state. On the "meta" device nothing
    is allocated. `compute_dtype` None is bfloat16 on CUDA and float32 elsewhere.
    """

    def __init__(
        self,
        config: FalconH1Config,
        *,
        device: str | torch.device = "cpu",
        backend: str = "torch",
        compute_dtype: torch.dtype | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if backend not in BACKENDS:
            raise ConfigError(f"backend = {backend!r}: give one of {', '.join(BACKENDS)}")
        if compute_dtype is None:
            compute_dtype = torch.bfloat16 if torch.device(device).type == "cuda" else torch.float32
        if compute_dtype not in (torch.bfloat16, torch.float32, torch.float64):
            raise ConfigError(
                f"compute_dtype = {compute_dtype}: give bfloat16, float32 or float64 (the model was never fp16)"
            )
        self.config, self.compute_dtype = config, compute_dtype
        with torch.device("meta"):
            self.model = _Backbone(config, backend)
            self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        if torch.device(device).type != "meta":
            self.to_empty(device=device)
        if config.tied:
            self.lm_head.weight = self.model.embed_tokens.weight
        if torch.device(device).type != "meta":
            self.reset_parameters(seed)

    @classmethod
    def from_size(
        cls,
        name: str,
        *,
        vocab_size: int | None = None,
        device: str | torch.device = "cpu",
        backend: str = "torch",
        compute_dtype: torch.dtype | None = None,
        seed: int = 0,
    ) -> FalconH1:
        """One of `SIZES`, with another tokenizer's vocabulary where one is given.

        >>> sum(each.numel() for each in FalconH1.from_size("34b", device="meta").parameters())
        33642516224
        """
        config = size_config(name, vocab_size=vocab_size)
        return cls(config, device=device, backend=backend, compute_dtype=compute_dtype, seed=seed)

    def forward(
        self, tokens: torch.Tensor, document: torch.Tensor | None = None, targets: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Logits [batch, length, vocab] in float32, or with `targets` the mean objective (z-loss included), a scalar."""
        if targets is not None:
            return self.loss(tokens, document, targets).mean()
        hidden = self.hidden(tokens, document)
        return functional.linear(hidden, self._output_weight()).to(self._wide)

    def loss(
        self, tokens: torch.Tensor, document: torch.Tensor | None, targets: torch.Tensor, *, z_loss: float = Z_LOSS
    ) -> TokenLosses:
        """Losses of `targets`, int64 [batch, length], `losses.IGNORED` where not counted; logits are never held together."""
        return cross_entropy(self.hidden(tokens, document), self._output_weight(), targets, z_loss=z_loss)

    def hidden(self, tokens: torch.Tensor, document: torch.Tensor | None = None) -> torch.Tensor:
        """The last hidden states [batch, length, hidden_size], normed, in `compute_dtype`.

        tokens int64 [batch, length]; document integers of that shape, the `seq_idx`: a new document begins where the
        number changes; None means that each row is one document. Raises InputError for other shapes.
        """
        if tokens.ndim != 2 or (document is not None and document.shape != tokens.shape):
            shape = None if document is None else tuple(document.shape)
            raise InputError(f"tokens {tuple(tokens.shape)}, document {shape}: give both as [batch, length]")
        layout = make_layout(
            None if document is None else document_starts(document),
            length=tokens.shape[1],
            head_dim=self.config.head_dim,
            rope_base=self.config.rope_base,
            device=tokens.device,
            dtype=self._wide,
        )
        x: torch.Tensor = self.model(tokens, layout, self.compute_dtype)
        return x

    @torch.no_grad()  # type: ignore[untyped-decorator,unused-ignore] # as above
    def reset_parameters(self, seed: int) -> None:
        """Draw every weight anew. Each parameter has its own stream, named by seed and its name."""
        for name, parameter in self.named_parameters():
            digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
            generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
            parameter.copy_(_initial(name, parameter.shape, generator, self.config.initializer_range))
        for layer in self.model.layers:
            layer.mamba.reset_multipliers()

    def _output_weight(self) -> torch.Tensor:
        return scaled(self.lm_head.weight, self.config.multipliers.lm_head, self.compute_dtype)

    @property
    def _wide(self) -> torch.dtype:
        return torch.promote_types(torch.float32, self.compute_dtype)


class _Backbone(nn.Module):  # type: ignore[misc] # as above
    def __init__(self, config: FalconH1Config, backend: str) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Block(config, backend) for _ in range(config.num_layers))
        self.final_layernorm = Norm(config.hidden_size, config.norm_eps, backend)
        self.multiplier = config.multipliers.embedding

    def forward(self, tokens: torch.Tensor, layout: Layout, compute_dtype: torch.dtype) -> torch.Tensor:
        x = self.embed_tokens(tokens).to(layout.cos.dtype) * self.multiplier
        for layer in self.layers:
            x = layer(x, layout, compute_dtype)
        normed: torch.Tensor = self.final_layernorm(x).to(compute_dtype)
        return normed


def _initial(name: str, shape: torch.Size, generator: torch.Generator, initializer_range: float) -> torch.Tensor:
    """First values, on the CPU: dt_bias the inverse softplus of a log-uniform dt, A = -1 .. -heads, D and norms 1, the
    convolution uniform in +- width ** -0.5 as in mamba_ssm, every matrix normal. (transformers' own dt_bias = 1 means
    steps of 1.3 tokens and forgets at once.)
    """
    kind = name.rsplit(".", 1)[-1]
    if kind == "A_log":
        return torch.arange(1, shape[0] + 1, dtype=torch.float32).log()
    if kind == "dt_bias":
        low, high = math.log(MIN_DT), math.log(MAX_DT)
        dt = torch.rand(shape, generator=generator, dtype=torch.float64).mul(high - low).add(low).exp()
        return dt + torch.log(-torch.expm1(-dt))
    if "conv1d" in name:
        return torch.rand(shape, generator=generator).sub(0.5).mul(2 * CONV_WIDTH**-0.5)
    if kind == "D" or len(shape) == 1:
        return torch.ones(shape)
    return torch.randn(shape, generator=generator).mul(initializer_range)
