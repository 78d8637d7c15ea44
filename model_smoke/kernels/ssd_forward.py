"""SSD forward in three Triton kernels: steps and decays, the state entering each chunk, the outputs of each chunk.

In: x [b, l, h, p], dt [b, l, h], A, D, dt_bias [h], B and C [b, l, g, n], document starts [b, l]. Formula: `reference`.

Log decays are summed in float64 and kept as two float32, high and low, so that a difference of two of them is as exact
as a float32 can hold even after a token of strong decay. Softplus is taken in float64, by its series where exp(x) is small.
A token reads only what is of its own document: `s >= start[t]` within a chunk, `start[t] < first token of the chunk` for
the entering state.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

from model_smoke.kernels.launch import Launch, compute_type
from model_smoke.kernels.rounding import narrowed
from model_smoke.kernels.tiles import Tiles


@triton.jit
def decay(high_to: tl.tensor, low_to: tl.tensor, high_from: tl.tensor, low_from: tl.tensor) -> tl.tensor:
    """exp of the sum of log decays after `from` up to `to`; never above 1."""
    return tl.exp(tl.minimum((high_to - high_from) + (low_to - low_from), 0.0))


@triton.jit
def steps_kernel(
    dt_ptr: tl.tensor, bias_ptr: tl.tensor, a_ptr: tl.tensor, step_ptr: tl.tensor, high_ptr: tl.tensor,
    low_ptr: tl.tensor, length: tl.tensor, heads: tl.tensor, num_chunks: tl.tensor, dt_batch: tl.tensor,
    dt_length: tl.tensor,
    Q: tl.constexpr, BLOCK_H: tl.constexpr,
) -> None:  # fmt: skip
    """step = softplus(dt + bias), zero past the end; high + low = its running sum times A within the chunk, [b, chunk, h, Q]."""
    row = tl.program_id(0).to(tl.int64)
    q = tl.arange(0, Q)
    h = tl.program_id(1) * BLOCK_H + tl.arange(0, BLOCK_H)
    t = (row % num_chunks) * Q + q
    here = (t[:, None] < length) & (h[None, :] < heads)
    at = (row // num_chunks) * dt_batch + t[:, None] * dt_length + h[None, :]
    raw = tl.load(dt_ptr + at, mask=here, other=0.0).to(tl.float64)
    raw += tl.load(bias_ptr + h, mask=h < heads, other=0.0).to(tl.float64)[None, :]
    e = tl.exp(tl.minimum(raw, 30.0))
    series = e * (1.0 - e * (0.5 - e * (0.3333333333333333 - e * 0.25)))  # log1p(e); its error at 1e-3 is 2e-13
    soft = tl.where(raw > 30.0, raw, tl.where(e < 0.001, series, tl.log(1.0 + e)))
    step = tl.where(here, soft, 0.0).to(tl.float32)
    a = tl.load(a_ptr + h, mask=h < heads, other=0.0).to(tl.float64)
    total = tl.cumsum(step.to(tl.float64) * a[None, :], axis=0)
    high = total.to(tl.float32)
    low = (total - high.to(tl.float64)).to(tl.float32)
    out = (row * heads + h[None, :]) * Q + q[:, None]
    tl.store(step_ptr + out, step, mask=h[None, :] < heads)
    tl.store(high_ptr + out, high, mask=h[None, :] < heads)
    tl.store(low_ptr + out, low, mask=h[None, :] < heads)


@triton.jit
def states_kernel(
    values_ptr: tl.tensor, keys_ptr: tl.tensor, step_ptr: tl.tensor, high_ptr: tl.tensor, low_ptr: tl.tensor,
    starts_ptr: tl.tensor, states_ptr: tl.tensor, length: tl.tensor, heads: tl.tensor, num_chunks: tl.tensor,
    heads_per_group: tl.tensor, values_batch: tl.tensor, values_length: tl.tensor, values_head: tl.tensor,
    keys_batch: tl.tensor, keys_length: tl.tensor, keys_group: tl.tensor,
    P: tl.constexpr, N: tl.constexpr, Q: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr,
    REVERSE: tl.constexpr, DOCUMENTS: tl.constexpr, COMPUTE: tl.constexpr, PRECISION: tl.constexpr,
) -> None:  # fmt: skip
    """One block of one head's state along the row. Forward: values = x, keys = B, stores the state entering each chunk.

    Reverse: values = dy, keys = C, stores the gradient of the state leaving each chunk. [b, chunk, h, P, N].
    """
    block = tl.program_id(0)
    h = tl.program_id(1).to(tl.int64)
    b = tl.program_id(2).to(tl.int64)
    p = (block // (N // BLOCK_N)) * BLOCK_P + tl.arange(0, BLOCK_P)
    n = (block % (N // BLOCK_N)) * BLOCK_N + tl.arange(0, BLOCK_N)
    q = tl.arange(0, Q)
    values = values_ptr + b * values_batch + h * values_head
    keys = keys_ptr + b * keys_batch + (h // heads_per_group) * keys_group
    state = tl.zeros((BLOCK_P, BLOCK_N), tl.float32)
    for i in range(0, num_chunks):
        c = i
        if REVERSE:
            c = num_chunks - 1 - i
        chunk = b * num_chunks + c
        tl.store(
            states_ptr + ((chunk * heads + h) * P + p[:, None]) * N + n[None, :],
            narrowed(state, states_ptr.dtype.element_ty),
        )
        first = c * Q
        t = first + q
        here = t < length
        value = tl.load(values + t[:, None].to(tl.int64) * values_length + p[None, :], mask=here[:, None], other=0.0)
        key = tl.load(keys + t[:, None].to(tl.int64) * keys_length + n[None, :], mask=here[:, None], other=0.0)
        row = (chunk * heads + h) * Q
        high = tl.load(high_ptr + row + q)
        low = tl.load(low_ptr + row + q)
        high_last = tl.load(high_ptr + row + Q - 1)
        low_last = tl.load(low_ptr + row + Q - 1)
        carry = decay(high_last, low_last, 0.0, 0.0)
        if REVERSE:  # noqa: SIM108 # an `if` is decided when the kernel is compiled, an expression keeps both
            weight = decay(high, low, 0.0, 0.0)
        else:
            weight = tl.load(step_ptr + row + q) * decay(high_last, low_last, high, low)
        if DOCUMENTS:
            start_last = tl.load(starts_ptr + b * length + tl.minimum(first + Q, length) - 1)
            carry = tl.where(start_last < first, carry, 0.0)
            if REVERSE:
                start = tl.load(starts_ptr + b * length + t, mask=here, other=0)
                weight = tl.where(start < first, weight, 0.0)
            else:
                weight = tl.where(t >= start_last, weight, 0.0)
        weighted = (value.to(tl.float32) * weight[:, None]).to(COMPUTE)
        state = state * carry + tl.dot(tl.trans(weighted), key.to(COMPUTE), input_precision=PRECISION)


@triton.jit
def outputs_kernel(
    x_ptr: tl.tensor, b_ptr: tl.tensor, c_ptr: tl.tensor, step_ptr: tl.tensor, high_ptr: tl.tensor, low_ptr: tl.tensor,
    starts_ptr: tl.tensor, states_ptr: tl.tensor, d_ptr: tl.tensor, y_ptr: tl.tensor, length: tl.tensor,
    heads: tl.tensor, num_chunks: tl.tensor, heads_per_group: tl.tensor, x_batch: tl.tensor, x_length: tl.tensor,
    x_head: tl.tensor, b_batch: tl.tensor, b_length: tl.tensor, b_group: tl.tensor, c_batch: tl.tensor,
    c_length: tl.tensor, c_group: tl.tensor,
    P: tl.constexpr, N: tl.constexpr, Q: tl.constexpr, BLOCK_N: tl.constexpr, HEADS: tl.constexpr,
    DOCUMENTS: tl.constexpr, COMPUTE: tl.constexpr, PRECISION: tl.constexpr,
) -> None:  # fmt: skip
    """y of one chunk for HEADS heads of one group, which share C B^T."""
    c = tl.program_id(0)
    h0 = tl.program_id(1).to(tl.int64) * HEADS
    b = tl.program_id(2).to(tl.int64)
    chunk = b * num_chunks + c
    q = tl.arange(0, Q)
    p = tl.arange(0, P)
    n = tl.arange(0, BLOCK_N)
    first = c * Q
    t = first + q
    here = t < length
    t64 = t[:, None].to(tl.int64)
    b_tile = b_ptr + b * b_batch + (h0 // heads_per_group) * b_group + t64 * b_length + n[None, :]
    c_tile = c_ptr + b * c_batch + (h0 // heads_per_group) * c_group + t64 * c_length + n[None, :]
    products = tl.zeros((Q, Q), tl.float32)
    for n0 in range(0, N, BLOCK_N):
        cv = tl.load(c_tile + n0, mask=here[:, None], other=0.0).to(COMPUTE)
        bv = tl.load(b_tile + n0, mask=here[:, None], other=0.0).to(COMPUTE)
        products += tl.dot(cv, tl.trans(bv), input_precision=PRECISION)
    visible = q[:, None] >= q[None, :]
    if DOCUMENTS:
        start = tl.load(starts_ptr + b * length + t, mask=here, other=0)
        visible = visible & (t[None, :] >= start[:, None])
        entering = start < first
    for i in range(0, HEADS):
        h = h0 + i
        row = (chunk * heads + h) * Q
        acc = tl.zeros((Q, P), tl.float32)
        for n0 in range(0, N, BLOCK_N):
            cv = tl.load(c_tile + n0, mask=here[:, None], other=0.0).to(COMPUTE)
            sv = tl.load(states_ptr + ((chunk * heads + h) * P + p[:, None]) * N + n0 + n[None, :]).to(COMPUTE)
            acc += tl.dot(cv, tl.trans(sv), input_precision=PRECISION)
        high = tl.load(high_ptr + row + q)
        low = tl.load(low_ptr + row + q)
        step = tl.load(step_ptr + row + q)
        x = tl.load(x_ptr + b * x_batch + t64 * x_length + h * x_head + p[None, :], mask=here[:, None], other=0.0)
        entered = decay(high, low, 0.0, 0.0)
        if DOCUMENTS:
            entered = tl.where(entering, entered, 0.0)
        weight = products * decay(high[:, None], low[:, None], high[None, :], low[None, :]) * step[None, :]
        weight = tl.where(visible, weight, 0.0).to(COMPUTE)
        acc = acc * entered[:, None] + tl.dot(weight, x.to(COMPUTE), input_precision=PRECISION)
        acc += tl.load(d_ptr + h).to(tl.float32) * x.to(tl.float32)
        tl.store(
            y_ptr + ((b * length + t64) * heads + h) * P + p[None, :],
            narrowed(acc, y_ptr.dtype.element_ty),
            mask=here[:, None],
        )


def plan_steps(dt: torch.Tensor, a: torch.Tensor, bias: torch.Tensor, chunk: int) -> tuple[list[torch.Tensor], Launch]:
    """[step, high, low], float32 [b, chunks, h, chunk], and the launch that fills them; `a` = -exp(A_log), float32."""
    batch, length, heads = dt.shape
    num_chunks = triton.cdiv(length, chunk)
    outputs = [torch.empty(batch, num_chunks, heads, chunk, dtype=torch.float32, device=dt.device) for _ in range(3)]
    block = min(16, triton.next_power_of_2(heads))
    launch = Launch(
        kernel=steps_kernel,
        grid=(batch * num_chunks, triton.cdiv(heads, block)),
        arguments=dict(
            dt_ptr=dt, bias_ptr=bias, a_ptr=a, step_ptr=outputs[0], high_ptr=outputs[1], low_ptr=outputs[2],
            length=length, heads=heads, num_chunks=num_chunks, dt_batch=dt.stride(0), dt_length=dt.stride(1),
        ),
        constants=dict(Q=chunk, BLOCK_H=block),
    )  # fmt: skip
    return outputs, launch


def plan_states(
    values: torch.Tensor, keys: torch.Tensor, steps: list[torch.Tensor], starts: torch.Tensor | None, tiles: Tiles, *,
    reverse: bool,
) -> tuple[torch.Tensor, Launch]:  # fmt: skip
    """States entering each chunk, or gradients of those leaving it, [b, chunks, h, p, n] in the compute type."""
    batch, length, heads, head_dim = values.shape
    groups, state = keys.shape[2:]
    step, high, low = steps
    compute, storage = compute_type(values.dtype)
    num_chunks = step.shape[1]
    states = torch.empty(batch, num_chunks, heads, head_dim, state, dtype=storage, device=values.device)
    block_p, block_n = min(head_dim, tiles.block_p), min(state, tiles.block_n)
    launch = Launch(
        kernel=states_kernel,
        grid=((head_dim // block_p) * (state // block_n), heads, batch),
        arguments=dict(
            values_ptr=values, keys_ptr=keys, step_ptr=step, high_ptr=high, low_ptr=low,
            starts_ptr=step if starts is None else starts, states_ptr=states,
            length=length, heads=heads, num_chunks=num_chunks, heads_per_group=heads // groups,
            values_batch=values.stride(0), values_length=values.stride(1), values_head=values.stride(2),
            keys_batch=keys.stride(0), keys_length=keys.stride(1), keys_group=keys.stride(2),
        ),
        constants=dict(
            P=head_dim, N=state, Q=tiles.chunk, BLOCK_P=block_p, BLOCK_N=block_n, REVERSE=reverse,
            DOCUMENTS=starts is not None, COMPUTE=compute, PRECISION="ieee",
        ),
        num_warps=tiles.warps,
        num_stages=tiles.states_stages,
    )  # fmt: skip
    return states, launch


def plan_outputs(
    x: torch.Tensor, B: torch.Tensor, C: torch.Tensor, D: torch.Tensor, steps: list[torch.Tensor], states: torch.Tensor,
    starts: torch.Tensor | None, tiles: Tiles,
) -> tuple[torch.Tensor, Launch]:  # fmt: skip
    """y [b, l, h, p] in x's type."""
    y = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    together = shared_heads(x, B, tiles.outputs_heads)
    launch = Launch(
        kernel=outputs_kernel,
        grid=(states.shape[1], x.shape[2] // together, x.shape[0]),
        arguments=dict(x_ptr=x, b_ptr=B, c_ptr=C, **step_arguments(steps, starts), states_ptr=states, d_ptr=D, y_ptr=y)
        | sizes(x, B, states) | strides(x=x, b=B, c=C),
        constants=chunk_constants(x, B, starts, tiles) | dict(HEADS=together),
        num_warps=tiles.warps,
        num_stages=tiles.outputs_stages,
    )  # fmt: skip
    return y, launch


def shared_heads(x: torch.Tensor, B: torch.Tensor, wanted: int) -> int:
    """The largest number of heads of one program, at most `wanted`, that divides the heads of a group."""
    per_group = x.shape[2] // B.shape[2]
    return max(count for count in range(1, wanted + 1) if per_group % count == 0)


def step_arguments(steps: list[torch.Tensor], starts: torch.Tensor | None) -> dict[str, torch.Tensor]:
    """Pointers of steps and starts; without documents the starts' pointer is never read."""
    step, high, low = steps
    return dict(step_ptr=step, high_ptr=high, low_ptr=low, starts_ptr=step if starts is None else starts)


def sizes(x: torch.Tensor, B: torch.Tensor, states: torch.Tensor) -> dict[str, int]:
    """The sizes that every chunk kernel takes."""
    heads = x.shape[2]
    return dict(length=x.shape[1], heads=heads, num_chunks=states.shape[1], heads_per_group=heads // B.shape[2])


def strides(**tensors: torch.Tensor) -> dict[str, int]:
    """Strides of batch, length and head or group of each tensor, `<name>_batch` and so on."""
    out: dict[str, int] = {}
    for name, each in tensors.items():
        last = "group" if name in ("b", "c") else "head"
        out |= {f"{name}_batch": each.stride(0), f"{name}_length": each.stride(1), f"{name}_{last}": each.stride(2)}
    return out


def chunk_constants(x: torch.Tensor, B: torch.Tensor, starts: torch.Tensor | None, tiles: Tiles) -> dict[str, Any]:
    """The constants that every chunk kernel takes."""
    state = B.shape[3]
    return dict(
        P=x.shape[3], N=state, Q=tiles.chunk, BLOCK_N=min(state, tiles.block_n), DOCUMENTS=starts is not None,
        COMPUTE=compute_type(x.dtype)[0], PRECISION="ieee",
    )  # fmt: skip
