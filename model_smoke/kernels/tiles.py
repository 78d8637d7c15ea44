"""The static tile table: which chunk, blocks and warps each shape gets. No autotune: the same shape, the same code.

Chosen from ahead-of-time compiles for sm_90 (`python -m tests.kernels.aot 0.5b@128` compiles another chunk). With chunks of
64 and 8 warps nothing spills at any size and all products run on tensor cores; with chunks of 128 the backward kernels spill
424 to 1,856 bytes a thread, and with 4 warps at head dims from 64 they spill, too.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Tiles:
    """Sizes of one scan's launches. Blocks cut head dim and state; heads and splits say how a group's heads are shared out.

    `outputs_heads` heads share C B^T in one program; dB and dC are summed over `keys_split` parts of a group's heads.
    """

    chunk: int = 64
    block_p: int = 64
    block_n: int = 64
    warps: int = 8
    states_stages: int = 3
    outputs_heads: int = 4
    outputs_stages: int = 2
    inputs_stages: int = 2
    keys_split: int = 2
    keys_stages: int = 3  # one block fits a multiprocessor, so only loads ahead hide latency


MIN_CHUNK, MAX_CHUNK = 16, 256
"""What a chunk may be: a matrix product wants 16, and the [chunk, chunk] products of 256 more than fill the registers."""


def ssd_tiles(head_dim: int, state: int, chunk: int | None) -> Tiles:
    """Tiles for a head dim and state that are powers of two from 16; `chunk` overrides the table's.

    Raises ValueError for a chunk that is not a power of two from 16 to 256.
    """
    if chunk is not None and (chunk & (chunk - 1) or not MIN_CHUNK <= chunk <= MAX_CHUNK):
        raise ValueError(f"chunk = {chunk}: the Triton kernels take a power of two from {MIN_CHUNK} to {MAX_CHUNK}")
    return Tiles(chunk=chunk or 64, warps=4 if head_dim * state <= 32 * 64 else 8)
