"""64-bit hashes of byte ranges and the open-addressing tables that turn keys into dense ids.

Hashes are unseeded and equal on every machine, so they may be compared within one build and, for one version of eyas,
between builds; they are no protection against somebody who searches for collisions. Two different byte ranges agree
with a chance of about 2**-64.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from pipelines.kernels.bits import compiled, inlined, load64

# Odd 64-bit constants: the golden ratio (Knuth), and the multiplier of Pelle Evensen's moremur family
_K1: Final = np.uint64(0x9E3779B97F4A7C15)
_K2: Final = np.uint64(0xD6E8FEB86659FD93)
_U: Final = np.uint64
_ALL: Final = np.uint64(0xFFFFFFFFFFFFFFFF)
# Masks of the first and of the second 8 bytes, by length
_KEEP: Final = np.array([(1 << 8 * min(n, 8)) - 1 for n in range(17)], np.uint64)
_KEEP_HIGH: Final = np.array([(1 << 8 * max(n - 8, 0)) - 1 for n in range(17)], np.uint64)


@inlined
def mix(value: Any) -> Any:
    """Spread the bits of a uint64: a bijection, so different values stay different."""
    value = (value ^ (value >> _U(32))) * _K2
    value = (value ^ (value >> _U(29))) * _K1
    return value ^ (value >> _U(32))


@inlined
def mix_pair(left: Any, right: Any) -> Any:
    """Hash of an ordered pair of hashes."""
    value = (left * _K1) ^ (right + _K2)
    value = (value ^ (value >> _U(32))) * _K2
    return value ^ (value >> _U(29))


@compiled
def _load_tail(buffer: Any, start: int, count: int) -> Any:
    value = _U(0)
    for k in range(count):
        value |= _U(buffer[start + k]) << _U(8 * k)
    return value


@compiled
def _hash_long(buffer: Any, start: int, length: int) -> Any:
    value = _U(length) * _K1
    while length > 8:
        value = (value ^ load64(buffer, start)) * _K1
        value ^= value >> _U(32)
        start, length = start + 8, length - 8
    tail = load64(buffer, start) if start + 8 <= buffer.size else _load_tail(buffer, start, length)
    return mix_pair(value, tail & (_ALL >> _U(64 - 8 * length)))


@inlined
def hash_bytes(buffer: Any, start: int, length: int) -> Any:
    """uint64 hash of `buffer[start : start + length]`; `buffer` is uint8. Reads no byte outside the buffer.

    Up to 16 bytes, nearly every word, take no branch that depends on the length.
    """
    if length < 1:
        return _K2
    if length > 16 or start + 16 > buffer.size:
        return _hash_long(buffer, start, length) if length > 16 else _hash_short_at_end(buffer, start, length)
    low = load64(buffer, start) & _KEEP[np.uint64(length)]
    high = load64(buffer, start + 8) & _KEEP_HIGH[np.uint64(length)]
    return mix_pair(low ^ (_U(length) << _U(59)), high)


@compiled
def _hash_short_at_end(buffer: Any, start: int, length: int) -> Any:
    low = _load_tail(buffer, start, min(length, 8))
    high = _load_tail(buffer, start + 8, length - 8)
    return mix_pair(low ^ (_U(length) << _U(59)), high)


@inlined
def slots_for(num_keys: int) -> int:
    """Slots of a table for `num_keys` keys: a power of two, at most half full."""
    slots = 16
    while slots < 2 * num_keys:
        slots *= 2
    return slots


@inlined
def intern(table: Any, slots: int, keys: Any, num_ids: int, key: Any) -> Any:
    """Dense id of the uint64 `key`: the one it got before, or `num_ids` if it is new.

    `table` is int32, `slots` entries of it in use and 0 where free; `keys[i]` is the key of id i. The caller adds 1 to
    `num_ids` when that is what it gets back, and has room for `keys[num_ids]`.
    """
    slot: Any = np.int64(((key * _K1) >> _U(20)) & _U(slots - 1))
    keys[num_ids] = key
    while True:
        found: Any = np.int64(table[slot]) - 1
        if found < 0:
            table[slot] = num_ids + 1
            return num_ids
        if keys[found] == key:
            return found
        slot = (slot + 1) & (slots - 1)
