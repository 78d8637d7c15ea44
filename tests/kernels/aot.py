"""Compile every launch of a model size for sm_90 with no GPU, and print what came out as one line of JSON each.

`python -m tests.kernels.aot 90m 0.5b` plans the launches on torch's meta device, so what is compiled is what would run:
the same tiles, types, constants and alignment. Started by `test_compile.py`, in processes of their own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from model_smoke.config import SIZES, FalconH1Config
from model_smoke.kernels import conv, gate, norm, ssd
from model_smoke.kernels.launch import Launch
from model_smoke.kernels.tiles import ssd_tiles
from tests.kernels import GOLDEN, SIZES_COMPILED

TARGET = GPUTarget("cuda", 90, 32)
POINTERS = {
    torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.float16: "*fp16", torch.int32: "*i32",
}  # fmt: skip


BATCH, TOKENS = 8, 4096
"""32,768 tokens, as the figures of a step are given; only strides and divisibility follow from it."""


def launches(
    size: FalconH1Config, dtype: torch.dtype = torch.bfloat16, chunk: int | None = None
) -> Iterator[tuple[str, Launch]]:
    """Every launch of one layer, forward and backward, named."""

    def empty(*shape: int, dtype: torch.dtype = dtype) -> torch.Tensor:
        return torch.empty(shape, dtype=dtype, device="meta")

    heads, groups, width = size.ssm_heads, size.ssm_groups, size.ssm_size
    projected, mixed = empty(BATCH, TOKENS, sum(size.ssm_slices)), empty(BATCH, TOKENS, size.conv_size)
    gates, source, dt = projected.split([width, size.conv_size, heads], dim=-1)
    x, B, C = mixed.split([width, *size.ssm_slices[2:4]], dim=-1)
    x = x.unflatten(-1, (heads, -1))
    B, C = (each.unflatten(-1, (groups, -1)) for each in (B, C))
    starts, a = empty(BATCH, TOKENS, dtype=torch.int32), empty(heads, dtype=torch.float32)
    tiles = ssd_tiles(size.ssm_head_dim, size.ssm_state, chunk)
    y, made, forward = ssd.plan_forward(x, dt, a, B, C, a, a, starts, tiles)
    _, backward = ssd.plan_backward(y, x, a, B, C, a, made, starts, tiles, dt_type=dtype)
    names = ("steps", "states", "outputs", "states_reverse", "inputs", "keys")
    yield from zip(names, forward + backward, strict=True)

    weight, bias = empty(size.conv_size, 4, dtype=torch.float32), empty(size.conv_size, dtype=torch.float32)
    yield "conv", conv.plan_forward(source, weight, bias, starts, silu=True)[1]
    yield "conv_backward", conv.plan_backward(mixed, source, weight, bias, starts, silu=True)[1]

    rows, scale = empty(BATCH * TOKENS, size.hidden_size), empty(size.hidden_size, dtype=torch.float32)
    options: dict[str, Any] = dict(groups=1, eps=size.norm_eps, norm_before_gate=False)
    yield "norm", norm.plan_forward(rows, None, scale, **options)[1]
    yield "norm_backward", norm.plan_backward(rows, rows, None, scale, **options)[1]
    flat, wide = gates.flatten(0, 1), empty(BATCH * TOKENS, width)
    yield "gate", gate.plan_forward(wide, flat)[1]
    yield "gate_backward", gate.plan_backward(wide, wide, flat)[1]
    if size.gated_norm:
        options["groups"] = groups
        scale = empty(width, dtype=torch.float32)
        yield "gated_norm", norm.plan_forward(wide, flat, scale, **options)[1]
        yield "gated_norm_backward", norm.plan_backward(wide, wide, flat, scale, **options)[1]


def compile_launch(launch: Launch) -> dict[str, Any]:
    """Registers, bytes of stack and shared memory, and tensor-core instructions of one launch compiled for sm_90."""
    names = launch.kernel.arg_names
    given = {**launch.arguments, **launch.constants}
    signature, constants, attributes = {}, {}, {}
    for position, name in enumerate(names):
        value = given[name]
        if isinstance(value, torch.Tensor):
            signature[name], divisible = POINTERS[value.dtype], True
        elif name in launch.constants or (isinstance(value, int) and value == 1):  # as the JIT specializes
            signature[name], divisible = "constexpr", False
            constants[(position,)] = value
        elif isinstance(value, float):
            signature[name], divisible = "fp32", False
        else:
            signature[name], divisible = "i32" if value < 2**31 else "i64", value % 16 == 0
        if divisible:
            attributes[(position,)] = [["tt.divisibility", 16]]
    source = ASTSource(launch.kernel, signature, constexprs=constants, attrs=attributes)
    options = {"num_warps": launch.num_warps, "num_stages": launch.num_stages}
    compiled = triton.compile(source, target=TARGET, options=options)
    ptx = compiled.asm["ptx"]
    return {
        **_resources(compiled.asm["cubin"]),
        "warps": launch.num_warps,
        "shared": compiled.metadata.shared,
        "wgmma": ptx.count("wgmma.mma_async"),
        "mma": ptx.count("mma.sync"),
    }


def _resources(cubin: bytes) -> dict[str, int]:
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        text = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
    line = next(line for line in text.splitlines() if "REG:" in line)
    fields = dict(field.split(":") for field in line.split() if field.count(":") == 1)
    return {"registers": int(fields["REG"]), "stack": int(fields["STACK"]), "local": int(fields["LOCAL"])}


def main(arguments: list[str]) -> None:
    """Compile the sizes named (`name@chunk` overrides the table's chunk); with `--golden` all, and keep their registers."""
    golden: dict[str, dict[str, int]] = {}
    for argument in SIZES_COMPILED if arguments == ["--golden"] else arguments:
        name, _, chunk = argument.partition("@")
        for kernel, launch in launches(SIZES[name], chunk=int(chunk) if chunk else None):
            report = {"size": argument, "kernel": kernel, "triton": triton.__version__, **compile_launch(launch)}
            golden.setdefault(argument, {})[kernel] = report["registers"]
            print(json.dumps(report), flush=True)
    if arguments == ["--golden"]:
        kept = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
        GOLDEN.write_text(json.dumps(kept | {triton.__version__: golden}, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as cache:  # compiled here and now, not found
        os.environ["TRITON_CACHE_DIR"] = cache
        main(sys.argv[1:])
