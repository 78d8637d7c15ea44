"""Shapes of Falcon-H1 (arXiv 2507.22448): the six published sizes, a 90M and a tiny one of our own. Plain data, no torch.

Every layer is attention beside Mamba-2, then a gated MLP. `SIZES["0.5b"]` and so on count, with the vocabularies of the
published checkpoints, 0.5214B, 1.5548B, 1.5549B, 3.149B, 7.586B and 33.64B parameters. The counts settle one thing the
report leaves open: 1.5b has no gated norm (with one it would count 1.5549B). They leave open 3b's: both round to 3.149B.

>>> SIZES["0.5b"].num_parameters()
521411104
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType

from pipelines.errors import ConfigError

CONV_WIDTH = 4
"""Taps of the causal convolution before the scan: every published size."""


@dataclass(frozen=True, kw_only=True)
class Multipliers:
    """The fixed scalars of muP that the forward pass multiplies with (never trained, in no state dict). 1.0 changes nothing.

    `ssm_z` to `ssm_dt` act on the five slices of the mixer's input projection, `ssm_dt` before `dt_bias` is added.
    `published` says whether they are TII's or ours; only the 0.5B's are public.
    """

    embedding: float = 1.0
    lm_head: float = 1.0
    attention_in: float = 1.0
    key: float = 1.0
    attention_out: float = 1.0
    ssm_in: float = 1.0
    ssm_z: float = 1.0
    ssm_x: float = 1.0
    ssm_b: float = 1.0
    ssm_c: float = 1.0
    ssm_dt: float = 1.0
    ssm_out: float = 1.0
    mlp_gate: float = 1.0
    mlp_down: float = 1.0
    published: bool = False

    def __post_init__(self) -> None:
        for entry in fields(self):
            if not math.isfinite(getattr(self, entry.name)):
                raise ConfigError(f"multiplier {entry.name} = {getattr(self, entry.name)}: give a finite number")

    @property
    def ssm_slices(self) -> tuple[float, float, float, float, float]:
        """Of z, x, B, C and dt, in the order of the projection's rows."""
        return self.ssm_z, self.ssm_x, self.ssm_b, self.ssm_c, self.ssm_dt


# the released 0.5B checkpoint's config.json
PUBLISHED_0_5B = Multipliers(
    embedding=5.656854249492381, lm_head=0.0390625, attention_in=1.0, key=0.390625, attention_out=0.9375, ssm_in=1.25,
    ssm_z=0.35355339059327373, ssm_x=0.25, ssm_b=0.35355339059327373, ssm_c=0.5, ssm_dt=0.35355339059327373,
    ssm_out=0.2357022603955158, mlp_gate=0.8838834764831844, mlp_down=0.5859375, published=True,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class FalconH1Config:
    """Everything that fixes a model's parameters, their names and shapes, and what they compute.

    `chunk` is how many tokens the chunked scan takes at a time, None the kernels' own choice: speed and rounding only.
    `gated_norm` puts a RMSNorm over each of `ssm_groups` parts of the gated scan output, gate first. `initializer_range` is
    the standard deviation of every matrix at the start. Raises ConfigError where the numbers do not fit together.
    """

    vocab_size: int
    num_layers: int
    hidden_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    ssm_heads: int
    ssm_head_dim: int
    ssm_state: int
    ssm_groups: int = 1
    mlp_size: int
    gated_norm: bool = False
    tied: bool = False
    chunk: int | None = None
    rope_base: float = 1e11
    norm_eps: float = 1e-5
    initializer_range: float = 0.02
    multipliers: Multipliers = field(default_factory=Multipliers)

    def __post_init__(self) -> None:
        for name in (
            "vocab_size", "num_layers", "hidden_size", "num_heads", "num_kv_heads", "head_dim", "ssm_heads",
            "ssm_head_dim", "ssm_state", "ssm_groups", "mlp_size", "chunk",
        ):  # fmt: skip
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ConfigError(f"{name} = {getattr(self, name)}: give at least 1")
        for name in ("rope_base", "norm_eps", "initializer_range"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"{name} = {getattr(self, name)}: give a finite number above 0")
        if self.num_heads % self.num_kv_heads:
            raise ConfigError(f"num_heads = {self.num_heads} is no multiple of num_kv_heads = {self.num_kv_heads}")
        if self.ssm_heads % self.ssm_groups:
            raise ConfigError(f"ssm_heads = {self.ssm_heads} is no multiple of ssm_groups = {self.ssm_groups}")
        if self.head_dim % 2:
            raise ConfigError(f"head_dim = {self.head_dim}: give an even number, RoPE turns pairs")

    @property
    def ssm_size(self) -> int:
        """Channels of the scan, over all heads."""
        return self.ssm_heads * self.ssm_head_dim

    @property
    def conv_size(self) -> int:
        """Channels of the causal convolution: x, B and C."""
        return self.ssm_size + 2 * self.ssm_groups * self.ssm_state

    @property
    def ssm_slices(self) -> tuple[int, int, int, int, int]:
        """Rows of the mixer's input projection that give z, x, B, C and dt, in that order."""
        states = self.ssm_groups * self.ssm_state
        return self.ssm_size, self.ssm_size, states, states, self.ssm_heads

    def num_parameters(self) -> int:
        """All trained numbers; a tied embedding counts once."""
        tables = (1 if self.tied else 2) * self.vocab_size * self.hidden_size
        return tables + self.hidden_size + self.num_layers * (self._matrices_per_layer() + self._vectors_per_layer())

    def flops_per_token(self, sequence_length: int) -> float:
        """Floating point operations of forward and backward per token, for MFU: 6 a weight of each matrix product (the
        output layer's too, the embedding's lookup not), 6 x length x width for causal attention in one document of
        `sequence_length` tokens, 12 a number of the state for the recurrence in its step-by-step form.
        """
        weights = self.num_layers * self._matrices_per_layer() + self.vocab_size * self.hidden_size
        attention = 6 * self.num_layers * self.num_heads * self.head_dim * sequence_length
        recurrence = 12 * self.num_layers * self.ssm_size * self.ssm_state
        return float(6 * weights + attention + recurrence)

    def _matrices_per_layer(self) -> int:
        attention = 2 * (self.num_heads + self.num_kv_heads) * self.head_dim
        return self.hidden_size * (sum(self.ssm_slices) + self.ssm_size + attention + 3 * self.mlp_size)

    def _vectors_per_layer(self) -> int:
        mixer = self.conv_size * (CONV_WIDTH + 1) + 3 * self.ssm_heads + self.gated_norm * self.ssm_size
        return mixer + 2 * self.hidden_size


# Widths and depths: FALCON-H1's technical report and the released configs. Multipliers other than the 0.5B's are ours (1.0).
# `gated_norm` of 1.5b follows from the parameter count; that of 3b is our reading.
SIZES: Mapping[str, FalconH1Config] = MappingProxyType({
    # ours: about 390,000 parameters, for tests and the demo on one CPU core. After 60 steps of 1,024 tokens at a learning rate
    # of 8e-3 (mean of 2 seeds) held-out nats per token were 6.22 from a range of 0.02, 6.09 from 0.05, 6.15 from 0.1
    "tiny": FalconH1Config(
        vocab_size=4096, num_layers=2, hidden_size=64, num_heads=2, num_kv_heads=1, head_dim=32, ssm_heads=4,
        ssm_head_dim=32, ssm_state=16, mlp_size=128, tied=True, initializer_range=0.05,
    ),
    # ours: the 0.5B's proportions, wider for its depth because that is faster at this size
    "90m": FalconH1Config(
        vocab_size=32_784, num_layers=13, hidden_size=640, num_heads=6, num_kv_heads=2, head_dim=64, ssm_heads=16,
        ssm_head_dim=64, ssm_state=128, mlp_size=1280, tied=True,
    ),
    "0.5b": FalconH1Config(
        vocab_size=32_784, num_layers=36, hidden_size=1024, num_heads=8, num_kv_heads=2, head_dim=64, ssm_heads=24,
        ssm_head_dim=64, ssm_state=128, mlp_size=2048, multipliers=PUBLISHED_0_5B,
    ),
    "1.5b": FalconH1Config(
        vocab_size=65_537, num_layers=24, hidden_size=2048, num_heads=8, num_kv_heads=2, head_dim=128, ssm_heads=48,
        ssm_head_dim=64, ssm_state=256, mlp_size=4608,
    ),
    "1.5b-deep": FalconH1Config(
        vocab_size=65_537, num_layers=66, hidden_size=1280, num_heads=6, num_kv_heads=2, head_dim=128, ssm_heads=24,
        ssm_head_dim=64, ssm_state=256, mlp_size=3072, gated_norm=True,
    ),
    "3b": FalconH1Config(
        vocab_size=65_537, num_layers=32, hidden_size=2560, num_heads=10, num_kv_heads=2, head_dim=128, ssm_heads=32,
        ssm_head_dim=128, ssm_state=256, mlp_size=6144,
    ),
    "7b": FalconH1Config(
        vocab_size=130_049, num_layers=44, hidden_size=3072, num_heads=12, num_kv_heads=2, head_dim=128, ssm_heads=24,
        ssm_head_dim=128, ssm_state=256, mlp_size=12_288, gated_norm=True,
    ),
    "34b": FalconH1Config(
        vocab_size=261_120, num_layers=72, hidden_size=5120, num_heads=20, num_kv_heads=4, head_dim=128, ssm_heads=32,
        ssm_head_dim=128, ssm_state=256, ssm_groups=2, mlp_size=21_504, gated_norm=True,
    ),
})  # fmt: skip


def size_config(name: str, *, vocab_size: int | None = None) -> FalconH1Config:
    """The configuration of a size, with the vocabulary of another tokenizer where one is given.

    Raises ConfigError for an unknown name.

    >>> size_config("tiny", vocab_size=512).vocab_size
    512
    """
    if name not in SIZES:
        raise ConfigError(f"size {name!r}: give one of {', '.join(SIZES)}")
    return SIZES[name] if vocab_size is None else replace(SIZES[name], vocab_size=vocab_size)
