"""Machine words for the scanner: unaligned loads, 64-byte comparisons as 64-bit masks, counts of bits.

Bit k of a mask stands for byte k of the 64 at an address. LLVM turns each comparison into the widest vectors the CPU
has (AVX-512, AVX2, SSE2, NEON); the result is the same on all. Nothing here checks bounds: the caller does.

Also the two ways functions of this package are compiled. Both without Numba's reference counting (`_nrt=False`): no
kernel allocates, and an atomic increment for each array argument of each small call was two thirds of the whole
pass (11.5 against 4.0 ns a byte of English).
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

compiled = njit(_nrt=False, nogil=True)
"""For functions that work on a document, or on a line: compiled once, called."""

inlined = njit(_nrt=False, nogil=True, forceinline=True)
"""For functions that work on a word or a byte: compiled into each caller."""

_BYTE = ir.IntType(8)
_WORD = ir.IntType(64)
_LANES = ir.VectorType(_BYTE, 64)


def _address(context: Any, builder: Any, array_type: Any, array: Any, index: Any, pointee: ir.Type) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), pointee.as_pointer())


def _splat(builder: Any, value: Any) -> Any:
    byte = builder.trunc(value, _BYTE)
    first = builder.insert_element(ir.Constant(_LANES, ir.Undefined), byte, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), 64), [0] * 64)
    return builder.shuffle_vector(first, ir.Constant(_LANES, ir.Undefined), zeros)


@intrinsic
def load64(typing_context: Any, array: Any, index: Any) -> Any:
    """The 8 bytes of a uint8 array from `index` on, as a little-endian uint64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value = builder.load(_address(context, builder, signature.args[0], arguments[0], arguments[1], _WORD))
        value.align = 1
        return value

    return types.uint64(array, types.int64), generate


@intrinsic
def mask_between(typing_context: Any, array: Any, index: Any, fold: Any, low: Any, high: Any) -> Any:
    """Mask of the 64 bytes b from `index` on with `low <= b | fold <= high`, all as unsigned bytes.

    `fold` 0x20 folds ASCII letters to lower case.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        block = builder.load(_address(context, builder, signature.args[0], arguments[0], arguments[1], _LANES))
        block.align = 1
        folded = builder.or_(block, _splat(builder, arguments[2]))
        shifted = builder.sub(folded, _splat(builder, arguments[3]))
        width = _splat(builder, builder.sub(arguments[4], arguments[3]))
        return builder.bitcast(builder.icmp_unsigned("<=", shifted, width), _WORD)

    return types.uint64(array, types.int64, types.int64, types.int64, types.int64), generate


@intrinsic
def mask_equal(typing_context: Any, array: Any, index: Any, fold: Any, byte: Any) -> Any:
    """Mask of the 64 bytes b from `index` on with `b | fold == byte`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        block = builder.load(_address(context, builder, signature.args[0], arguments[0], arguments[1], _LANES))
        block.align = 1
        folded = builder.or_(block, _splat(builder, arguments[2]))
        return builder.bitcast(builder.icmp_unsigned("==", folded, _splat(builder, arguments[3])), _WORD)

    return types.uint64(array, types.int64, types.int64, types.int64), generate


@intrinsic
def popcount(typing_context: Any, value: Any) -> Any:
    """Set bits of a uint64, as int64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), generate


@intrinsic
def lowest(typing_context: Any, value: Any) -> Any:
    """Position of the lowest set bit of a uint64, as int64; 64 for 0."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), generate


@intrinsic
def highest(typing_context: Any, value: Any) -> Any:
    """Position of the highest set bit of a uint64, as int64; -1 for 0."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        zeros = builder.ctlz(arguments[0], ir.Constant(ir.IntType(1), 0))
        return builder.sub(ir.Constant(_WORD, 63), zeros)

    return types.int64(types.uint64), generate
