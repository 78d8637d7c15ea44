"""SSD backward: the reversed states (`ssd_forward.states_kernel`), then two Triton kernels that fit their registers.

`inputs_kernel` gives dx, ddt and the sums for A, D and dt_bias, per head; `keys_kernel` gives dB and dC, per group. In one
kernel their accumulators spill. No atomics: sums over chunks and head splits are partial sums, added by torch in a fixed order.

The gradient of a log decay a_j is the sum over pairs s < j <= t of (y_t's part from x_s, times dy_t): rows minus columns,
summed from the end. A pair (t, t) has no decay, so the diagonal is masked out: under strong decay it would drown the rest.
Rows minus columns cancel, so for float32 inputs they are summed in float64; 16-bit inputs are not worth it.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from model_smoke.kernels.launch import Launch
from model_smoke.kernels.rounding import narrowed
from model_smoke.kernels.ssd_forward import chunk_constants, decay, shared_heads, sizes, step_arguments, strides
from model_smoke.kernels.tiles import Tiles


@triton.jit
def softplus_slope(step: tl.tensor) -> tl.tensor:
    """d softplus(r) / dr = 1 - exp(-softplus(r)), by its series for small steps, where the difference cancels."""
    series = 1.0 - step * (
        0.5 - step * (0.16666667 - step * (0.041666667 - step * (0.0083333333 - step * 0.0013888889)))
    )
    return tl.where(step < 0.125, step * series, 1.0 - tl.exp(-step))


@triton.jit
def inputs_kernel(
    x_ptr: tl.tensor, b_ptr: tl.tensor, c_ptr: tl.tensor, dy_ptr: tl.tensor, step_ptr: tl.tensor, high_ptr: tl.tensor,
    low_ptr: tl.tensor, starts_ptr: tl.tensor, states_ptr: tl.tensor, dstates_ptr: tl.tensor, a_ptr: tl.tensor,
    d_ptr: tl.tensor, dx_ptr: tl.tensor, ddt_ptr: tl.tensor, sums_ptr: tl.tensor, length: tl.tensor, heads: tl.tensor,
    num_chunks: tl.tensor, heads_per_group: tl.tensor, sums_size: tl.tensor, x_batch: tl.tensor, x_length: tl.tensor,
    x_head: tl.tensor, b_batch: tl.tensor, b_length: tl.tensor, b_group: tl.tensor, c_batch: tl.tensor,
    c_length: tl.tensor, c_group: tl.tensor, dy_batch: tl.tensor, dy_length: tl.tensor, dy_head: tl.tensor,
    P: tl.constexpr, N: tl.constexpr, Q: tl.constexpr, BLOCK_N: tl.constexpr,
    DOCUMENTS: tl.constexpr, COMPUTE: tl.constexpr, PRECISION: tl.constexpr, SUM: tl.constexpr,
) -> None:  # fmt: skip
    """dx and ddt of one chunk and head; its parts of the sums [A, D, dt_bias] x [b, chunk, h]."""
    c = tl.program_id(0)
    h = tl.program_id(1).to(tl.int64)
    b = tl.program_id(2).to(tl.int64)
    chunk = b * num_chunks + c
    q = tl.arange(0, Q)
    p = tl.arange(0, P)
    n = tl.arange(0, BLOCK_N)
    first = c * Q
    t = first + q
    here = t < length
    t64 = t[:, None].to(tl.int64)
    b_tile = b_ptr + b * b_batch + (h // heads_per_group) * b_group + t64 * b_length + n[None, :]
    c_tile = c_ptr + b * c_batch + (h // heads_per_group) * c_group + t64 * c_length + n[None, :]
    visible = q[:, None] >= q[None, :]
    if DOCUMENTS:
        start = tl.load(starts_ptr + b * length + t, mask=here, other=0)
        start_last = tl.load(starts_ptr + b * length + tl.minimum(first + Q, length) - 1)
        visible = visible & (t[None, :] >= start[:, None])
    row = (chunk * heads + h) * Q
    products = tl.zeros((Q, Q), tl.float32)
    from_state = tl.zeros((Q, P), tl.float32)
    to_state = tl.zeros((Q, P), tl.float32)
    along = tl.zeros((P,), tl.float32)
    for n0 in range(0, N, BLOCK_N):
        cv = tl.load(c_tile + n0, mask=here[:, None], other=0.0).to(COMPUTE)
        bv = tl.load(b_tile + n0, mask=here[:, None], other=0.0).to(COMPUTE)
        block = ((chunk * heads + h) * P + p[:, None]) * N + n0 + n[None, :]
        sv = tl.load(states_ptr + block)
        dsv = tl.load(dstates_ptr + block)
        along += tl.sum(sv.to(tl.float32) * dsv.to(tl.float32), axis=1)
        products += tl.dot(cv, tl.trans(bv), input_precision=PRECISION)
        from_state += tl.dot(cv, tl.trans(sv.to(COMPUTE)), input_precision=PRECISION)
        if P <= 64:
            to_state += tl.dot(bv, tl.trans(dsv.to(COMPUTE)), input_precision=PRECISION)
    high = tl.load(high_ptr + row + q)
    low = tl.load(low_ptr + row + q)
    step = tl.load(step_ptr + row + q)
    high_last = tl.load(high_ptr + row + Q - 1)
    low_last = tl.load(low_ptr + row + Q - 1)
    entered = decay(high, low, 0.0, 0.0)
    left = decay(high_last, low_last, high, low)
    carry = decay(high_last, low_last, 0.0, 0.0)
    if DOCUMENTS:
        entered = tl.where(start < first, entered, 0.0)
        left = tl.where(t >= start_last, left, 0.0)
        carry = tl.where(start_last < first, carry, 0.0)
    dy = tl.load(dy_ptr + b * dy_batch + t64 * dy_length + h * dy_head + p[None, :], mask=here[:, None], other=0.0)
    change = (entered * tl.sum(from_state * dy.to(tl.float32), axis=1)).to(tl.float64)
    if P > 64:  # in a loop of its own: three accumulators and two states at once would spill
        for n0 in range(0, N, BLOCK_N):
            bv = tl.load(b_tile + n0, mask=here[:, None], other=0.0).to(COMPUTE)
            dsv = tl.load(dstates_ptr + ((chunk * heads + h) * P + p[:, None]) * N + n0 + n[None, :])
            to_state += tl.dot(bv, tl.trans(dsv.to(COMPUTE)), input_precision=PRECISION)
    x = tl.load(x_ptr + b * x_batch + t64 * x_length + h * x_head + p[None, :], mask=here[:, None], other=0.0)
    dxdt = to_state * left[:, None]
    leaving = (step * tl.sum(dxdt * x.to(tl.float32), axis=1)).to(tl.float64)
    between = decay(high[:, None], low[:, None], high[None, :], low[None, :])
    weight = tl.where(visible, products * between, 0.0)
    pairs = tl.dot(dy.to(COMPUTE), tl.trans(x.to(COMPUTE)), input_precision=PRECISION) * step[None, :] * weight
    pairs = tl.where(q[:, None] > q[None, :], pairs, 0.0).to(SUM)  # so that rows and columns cancel
    change += tl.sum(pairs, axis=1).to(tl.float64) - tl.sum(pairs, axis=0).to(tl.float64) - leaving
    dxdt += tl.dot(tl.trans(weight.to(COMPUTE)), dy.to(COMPUTE), input_precision=PRECISION)
    x_wide = x.to(tl.float32)
    dy_wide = dy.to(tl.float32)
    dx = dxdt * step[:, None] + tl.load(d_ptr + h).to(tl.float32) * dy_wide
    out = (b * length + t64) * heads + h
    tl.store(dx_ptr + out * P + p[None, :], narrowed(dx, dx_ptr.dtype.element_ty), mask=here[:, None])
    tail = tl.sum(leaving, axis=0) + carry * tl.sum(along, axis=0)
    dlog = (tl.sum(change, axis=0) - tl.cumsum(change, axis=0) + change + tail).to(tl.float32)
    a = tl.load(a_ptr + h)
    ddt = (tl.sum(dxdt * x_wide, axis=1) + a * dlog) * softplus_slope(step)
    at = (b * length + t) * heads + h
    tl.store(ddt_ptr + at, narrowed(ddt, ddt_ptr.dtype.element_ty), mask=here)
    sums = sums_ptr + chunk * heads + h
    tl.store(sums, tl.sum(dlog * step, axis=0))
    tl.store(sums + sums_size, tl.sum(tl.sum(dy_wide * x_wide, axis=1), axis=0))
    tl.store(sums + 2 * sums_size, tl.sum(ddt, axis=0))


@triton.jit
def keys_kernel(
    x_ptr: tl.tensor, b_ptr: tl.tensor, c_ptr: tl.tensor, dy_ptr: tl.tensor, step_ptr: tl.tensor, high_ptr: tl.tensor,
    low_ptr: tl.tensor, starts_ptr: tl.tensor, states_ptr: tl.tensor, dstates_ptr: tl.tensor, db_ptr: tl.tensor,
    dc_ptr: tl.tensor, length: tl.tensor, heads: tl.tensor, num_chunks: tl.tensor, heads_per_group: tl.tensor,
    split_size: tl.tensor, x_batch: tl.tensor, x_length: tl.tensor, x_head: tl.tensor, b_batch: tl.tensor,
    b_length: tl.tensor, b_group: tl.tensor, c_batch: tl.tensor, c_length: tl.tensor, c_group: tl.tensor,
    dy_batch: tl.tensor, dy_length: tl.tensor, dy_head: tl.tensor,
    P: tl.constexpr, N: tl.constexpr, Q: tl.constexpr, BLOCK_N: tl.constexpr, SPLIT: tl.constexpr,
    DOCUMENTS: tl.constexpr, COMPUTE: tl.constexpr, PRECISION: tl.constexpr,
) -> None:  # fmt: skip
    """One block of dB and dC of one chunk, summed over one of SPLIT parts of the group's heads, [split, b, l, g, n]."""
    blocks: tl.constexpr = N // BLOCK_N
    c = tl.program_id(0) // blocks
    n = (tl.program_id(0) % blocks) * BLOCK_N + tl.arange(0, BLOCK_N)
    b = tl.program_id(1).to(tl.int64)
    part = tl.program_id(2)
    group = (part // SPLIT).to(tl.int64)
    count = heads_per_group // SPLIT
    chunk = b * num_chunks + c
    q = tl.arange(0, Q)
    p = tl.arange(0, P)
    first = c * Q
    t = first + q
    here = t < length
    t64 = t[:, None].to(tl.int64)
    visible = q[:, None] >= q[None, :]
    if DOCUMENTS:
        start = tl.load(starts_ptr + b * length + t, mask=here, other=0)
        start_last = tl.load(starts_ptr + b * length + tl.minimum(first + Q, length) - 1)
        visible = visible & (t[None, :] >= start[:, None])
    products = tl.zeros((Q, Q), tl.float32)
    db = tl.zeros((Q, BLOCK_N), tl.float32)
    dc = tl.zeros((Q, BLOCK_N), tl.float32)
    for i in range(0, count):
        h = part.to(tl.int64) * count + i
        row = (chunk * heads + h) * Q
        x = tl.load(x_ptr + b * x_batch + t64 * x_length + h * x_head + p[None, :], mask=here[:, None], other=0.0)
        dy = tl.load(dy_ptr + b * dy_batch + t64 * dy_length + h * dy_head + p[None, :], mask=here[:, None], other=0.0)
        block = ((chunk * heads + h) * P + p[:, None]) * N + n[None, :]
        sv = tl.load(states_ptr + block).to(COMPUTE)
        dsv = tl.load(dstates_ptr + block).to(COMPUTE)
        high = tl.load(high_ptr + row + q)
        low = tl.load(low_ptr + row + q)
        step = tl.load(step_ptr + row + q)
        entered = decay(high, low, 0.0, 0.0)
        left = decay(tl.load(high_ptr + row + Q - 1), tl.load(low_ptr + row + Q - 1), high, low) * step
        if DOCUMENTS:
            entered = tl.where(start < first, entered, 0.0)
            left = tl.where(t >= start_last, left, 0.0)
        between = decay(high[:, None], low[:, None], high[None, :], low[None, :]) * step[None, :]
        pairs = tl.dot(dy.to(COMPUTE), tl.trans(x.to(COMPUTE)), input_precision=PRECISION)
        products += tl.where(visible, pairs * between, 0.0)
        dc += tl.dot((dy.to(tl.float32) * entered[:, None]).to(COMPUTE), sv, input_precision=PRECISION)
        db += tl.dot((x.to(tl.float32) * left[:, None]).to(COMPUTE), dsv, input_precision=PRECISION)
    cv = tl.load(c_ptr + b * c_batch + group * c_group + t64 * c_length + n[None, :], mask=here[:, None], other=0.0)
    bv = tl.load(b_ptr + b * b_batch + group * b_group + t64 * b_length + n[None, :], mask=here[:, None], other=0.0)
    narrow = products.to(COMPUTE)
    dc += tl.dot(narrow, bv.to(COMPUTE), input_precision=PRECISION)
    db += tl.dot(tl.trans(narrow), cv.to(COMPUTE), input_precision=PRECISION)
    groups = heads // heads_per_group
    out = (part % SPLIT).to(tl.int64) * split_size + ((b * length + t64) * groups + group) * N + n[None, :]
    tl.store(db_ptr + out, narrowed(db, db_ptr.dtype.element_ty), mask=here[:, None])
    tl.store(dc_ptr + out, narrowed(dc, dc_ptr.dtype.element_ty), mask=here[:, None])


def plan_inputs(
    x: torch.Tensor, B: torch.Tensor, C: torch.Tensor, dy: torch.Tensor, a: torch.Tensor, D: torch.Tensor,
    steps: list[torch.Tensor], states: torch.Tensor, dstates: torch.Tensor, starts: torch.Tensor | None, tiles: Tiles, *,
    dt_type: torch.dtype,
) -> tuple[list[torch.Tensor], Launch]:  # fmt: skip
    """[dx, ddt, sums]: dx as x, ddt [b, l, h] in `dt_type`, sums float32 [3 (A, D, dt_bias), b, chunks, h]."""
    batch, length, heads, _ = x.shape
    dx = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    ddt = torch.empty(batch, length, heads, dtype=dt_type, device=x.device)
    sums = torch.empty(3, batch, states.shape[1], heads, dtype=torch.float32, device=x.device)
    constants = chunk_constants(x, B, starts, tiles)
    launch = Launch(
        kernel=inputs_kernel,
        grid=(states.shape[1], heads, batch),
        arguments=dict(
            x_ptr=x, b_ptr=B, c_ptr=C, dy_ptr=dy, **step_arguments(steps, starts), states_ptr=states,
            dstates_ptr=dstates, a_ptr=a, d_ptr=D, dx_ptr=dx, ddt_ptr=ddt, sums_ptr=sums, sums_size=sums[0].numel(),
        ) | sizes(x, B, states) | strides(x=x, b=B, c=C, dy=dy),
        constants=constants | dict(SUM=tl.float64 if x.dtype == torch.float32 else tl.float32),
        num_warps=tiles.warps,
        num_stages=tiles.inputs_stages,
    )  # fmt: skip
    return [dx, ddt, sums], launch


def plan_keys(
    x: torch.Tensor, B: torch.Tensor, C: torch.Tensor, dy: torch.Tensor, steps: list[torch.Tensor], states: torch.Tensor,
    dstates: torch.Tensor, starts: torch.Tensor | None, tiles: Tiles,
) -> tuple[list[torch.Tensor], Launch]:  # fmt: skip
    """[dB, dC], [split, b, l, g, n]: float32 to be added over split, or B's type where there is one."""
    split = shared_heads(x, B, tiles.keys_split)
    shape, dtype = (split, *B.shape), B.dtype if split == 1 else torch.float32
    db, dc = (torch.empty(shape, dtype=dtype, device=x.device) for _ in range(2))
    constants = chunk_constants(x, B, starts, tiles)
    launch = Launch(
        kernel=keys_kernel,
        grid=(states.shape[1] * triton.cdiv(B.shape[3], constants["BLOCK_N"]), x.shape[0], B.shape[2] * split),
        arguments=dict(
            x_ptr=x, b_ptr=B, c_ptr=C, dy_ptr=dy, **step_arguments(steps, starts), states_ptr=states,
            dstates_ptr=dstates, db_ptr=db, dc_ptr=dc, split_size=B.numel(),
        ) | sizes(x, B, states) | strides(x=x, b=B, c=C, dy=dy),
        constants=constants | dict(SPLIT=split),
        num_warps=tiles.warps,
        # float32 is for parity alone, and its loads ahead are beyond the shared memory of a multiprocessor
        num_stages=1 if x.dtype == torch.float32 else tiles.keys_stages,
    )  # fmt: skip
    return [db, dc], launch
