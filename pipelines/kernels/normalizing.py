"""What text normalization may have to do to each document: one pass over UTF-8, so that clean text costs no object.

`large_string[n]` -> `uint8[n]` of three bits. A bit errs to the side of being set only; 0 means that nothing can change.

| bit | set unless the document, for Unicode form NFC or none, |
|---|---|
| LAYOUT | has clean lines (below) |
| JUNK | has only characters of `STABLE` and `HARMLESS`, printable ASCII, tabs and line feeds |
| FORM | has no character of `HARMLESS`, in which the form of a text may have to be looked at |

Clean lines: no space or tab before a line end or the end, no line end first or last, at most `max_blank_lines` blank lines
in a row and, with `squeeze_spaces`, no two blanks together and no tab but at the start of a line.
For NFKC and for mojibake (`ascii_only`) every bit of a document that is not plain ASCII is set.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.kernels.redaction import utf8_buffers

# Inclusive ranges of characters that are starters, that NFC maps to themselves, that compose with nothing before them
# and that normalization never removes or strips. Only characters that have been in Unicode for 20 years and more, whose
# properties the stability policy freezes; `tests/property/test_normalize.py` checks each against `unicodedata`.
STABLE = (
    (0x00A1, 0x00AC), (0x00AE, 0x02FF), (0x0370, 0x0373), (0x0375, 0x0377), (0x037A, 0x037D), (0x0384, 0x0386),
    (0x0388, 0x038A), (0x038E, 0x03A1), (0x03A3, 0x0482), (0x048A, 0x0513), (0x0531, 0x0556), (0x0561, 0x0587),
    (0x05D0, 0x05EA), (0x060C, 0x060C), (0x061B, 0x061B), (0x061F, 0x061F), (0x0621, 0x063A), (0x0640, 0x064A),
    (0x0660, 0x066F), (0x0671, 0x06D5), (0x06EE, 0x06FF), (0x0904, 0x0928), (0x092A, 0x0930), (0x0932, 0x0933),
    (0x0935, 0x0939), (0x093D, 0x093D), (0x0964, 0x096F), (0x0E01, 0x0E30), (0x0E32, 0x0E33), (0x0E40, 0x0E46),
    (0x1E02, 0x1E99), (0x1EA0, 0x1EF9), (0x2010, 0x2027), (0x2030, 0x205E), (0x2070, 0x2071), (0x2074, 0x208E),
    (0x20A0, 0x20B5), (0x2100, 0x2125), (0x2127, 0x2129), (0x212C, 0x214B), (0x2153, 0x2183), (0x2190, 0x2328),
    (0x232B, 0x23DB), (0x2460, 0x2ADB), (0x2ADD, 0x2AFF), (0x3001, 0x3029), (0x3030, 0x303F), (0x3041, 0x3096),
    (0x309B, 0x30FF), (0x3105, 0x312C), (0x31F0, 0x321E), (0x3400, 0x4DB5), (0x4E00, 0x9FA5), (0xAC00, 0xD7A3),
    (0xFE30, 0xFE52), (0xFF01, 0xFF9F), (0xFFE0, 0xFFE6), (0x1F300, 0x1F3FA), (0x1F400, 0x1F64F), (0x20000, 0x2A6D6),
)  # fmt: skip

# Inclusive ranges of further characters that normalization neither removes nor strips, though NFC may rewrite them.
HARMLESS = (
    (0x0300, 0x036F), (0x0374, 0x0374), (0x0376, 0x0379), (0x037E, 0x0383), (0x0387, 0x0387), (0x0483, 0x0489),
    (0x0514, 0x0530), (0x0557, 0x0560), (0x0588, 0x05CF), (0x05EB, 0x060B), (0x060D, 0x061A), (0x061D, 0x08FF),
    (0x0900, 0x0EFF), (0x0F00, 0x109F), (0x10A0, 0x11FF), (0x1200, 0x137F), (0x1780, 0x17FF), (0x1E00, 0x1FFF),
    (0x2126, 0x2126), (0x212A, 0x212B), (0x2329, 0x232A), (0x3099, 0x309A), (0xF900, 0xFAFF), (0xFB00, 0xFDCF),
    (0xFDF0, 0xFDFF), (0xFE00, 0xFE0F), (0xFE20, 0xFE2F), (0x1F000, 0x1FAFF), (0x20000, 0x2FA1F),
)  # fmt: skip

LAYOUT, JUNK, FORM = 1, 2, 4


def what_may_change(
    text: pa.LargeStringArray, *, max_blank_lines: int, squeeze_spaces: bool, ascii_only: bool
) -> npt.NDArray[np.uint8]:
    """LAYOUT, JUNK and FORM bits of each document of `text`, a large_string array without nulls."""
    offsets, data = utf8_buffers(text)
    table = np.full(0x40000, LAYOUT | JUNK | FORM if ascii_only else JUNK | FORM, np.uint8)
    if not ascii_only:
        for ranges, bits in ((HARMLESS, FORM), (STABLE, 0)):
            for first, last in ranges:
                table[first : last + 1] = bits
    bits_of = np.zeros(len(text), np.uint8)
    _look(offsets, data, table, max_blank_lines, squeeze_spaces, bits_of)
    return bits_of


@numba.njit(cache=True, nogil=True)
def _look(
    offsets: npt.NDArray[np.int64],
    data: npt.NDArray[np.uint8],
    table: npt.NDArray[np.uint8],
    max_blank_lines: int,
    squeeze_spaces: bool,
    bits_of: npt.NDArray[np.uint8],
) -> None:
    everything = LAYOUT | JUNK | FORM
    for row in range(len(offsets) - 1):
        at, stop = offsets[row], offsets[row + 1]
        line_ends = 1  # a line end before the first character counts: leading blank lines go
        blank_before = False
        in_line = False
        bits = LAYOUT if at < stop and data[at] == 10 else 0
        while at < stop and bits != everything:
            byte = data[at]
            if byte > 32 and byte < 127:
                line_ends, blank_before, in_line = 0, False, True
                at += 1
            elif byte == 32 or byte == 9:
                if squeeze_spaces and in_line and (blank_before or byte == 9):
                    bits |= LAYOUT
                blank_before = True
                line_ends = 0
                at += 1
            elif byte == 10:
                line_ends += 1
                if blank_before or line_ends > max_blank_lines + 1:
                    bits |= LAYOUT
                blank_before, in_line = False, False
                at += 1
            elif byte < 0xC2:
                bits = everything
            else:
                if byte < 0xE0:
                    width, code = 2, np.int64(byte & 0x1F)
                elif byte < 0xF0:
                    width, code = 3, np.int64(byte & 0x0F)
                else:
                    width, code = 4, np.int64(byte & 0x07)
                for step in range(1, width):
                    code = (code << 6) | (data[at + step] & 0x3F)
                bits |= table[code] if code < len(table) else everything
                line_ends, blank_before, in_line = 0, False, True
                at += width
        if blank_before or (stop > offsets[row] and data[stop - 1] == 10):
            bits |= LAYOUT
        if bits & JUNK:  # what is taken out may leave blanks at the end of a line
            bits = everything
        bits_of[row] = bits
