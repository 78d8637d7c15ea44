"""Text normalization: one Unicode form, one line end, no invisible junk, no blank tails.

A document batch comes in; the same rows go out with their text normalized, those that were clean untouched. In order:

1. (where `fix_mojibake` is set) UTF-8 that was once read as Windows-1252 is read again: `cafÃ©` -> `café`;
2. line ends (CR LF, CR, VT, FF, FS, GS, RS, NEL, LS, PS) become LF;
3. characters that nobody sees and that carry no meaning go: C0 and C1 controls but TAB and LF, DEL, soft hyphen,
   zero-width space, word joiner, byte order mark, bidi marks, embeddings, overrides and isolates, invisible operators,
   interlinear marks, noncharacters, tags outside an emoji flag. ZWJ and ZWNJ stay after a letter or sign of the Arabic,
   Indic and other scripts whose shapes they govern, and inside emoji; variation selectors stay;
4. the Unicode form (NFC by default);
5. blanks at the ends of lines go; (where `squeeze_spaces` is set) blanks inside a line become one space, indentation stays;
6. blank lines at both ends go, and in between at most `max_blank_lines` stay in a row.

The result is a fixed point: normalizing it again changes nothing.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.errors import ConfigError
from pipelines.kernels.normalizing import FORM, JUNK, LAYOUT, what_may_change
from pipelines.schema import set_column

FORMS = ("NFC", "NFKC", "none")

_LINE_ENDS = "\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
_JUNK = re.compile(
    r"[\x00-\x08\x0e-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ufffe\uffff"
    r"\ufdd0-\ufdef]|["
    + "".join(f"{chr(p * 0x10000 + 0xFFFE)}-{chr(p * 0x10000 + 0xFFFF)}" for p in range(1, 17))
    + "]"
)
_FLAG_OR_TAG = re.compile("(\U0001f3f4[\U000e0020-\U000e007e]{1,32}\U000e007f)|[\U000e0000-\U000e007f]")
# After which ZWNJ and ZWJ mean something: scripts with joining or conjunct forms, and emoji.
_JOINER = re.compile(
    "(?<![\u0600-\u08ff\u0900-\u109f\u1780-\u18af\u1900-\u1cff\ua800-\uabff\ufb50-\ufdff\ufe70-\ufefc"
    "\U00010a00-\U00011fff\U0001e900-\U0001e95f"
    "\u00a9\u00ae\u2190-\u27bf\u2b00-\u2bff\u3030\u303d\u3297\u3299\ufe0f\u20e3\U0001f000-\U0001faff])[\u200c\u200d]+"
    "|(?<=[\u200c\u200d])[\u200c\u200d]+"
)
_INNER_BLANKS = re.compile(r"(?<=\S)[^\S\n]+(?=\S)")

# Bytes 0x80-0xBF as Windows-1252 shows them; five undefined ones show as C1 controls.
_CONTINUATION = "".join(bytes([b]).decode("cp1252", "ignore") or chr(b) for b in range(0x80, 0xC0))
_TO_BYTE = {char: 0x80 + position for position, char in enumerate(_CONTINUATION)}
_CLASS = "[" + re.escape(_CONTINUATION) + "]"
# Only leads that ordinary text hardly puts before such characters: Â and Ã ("AMANHÃ”" is a word and a quotation mark), â
# with € or ‚ (general punctuation), ð with Ÿ (emoji), and runs of two and more for Ð Ñ (Cyrillic), Ø Ù (Arabic), à (Indic),
# ã-é (Chinese, Japanese).
_MOJIBAKE = re.compile(
    rf"[ÂÃ](?![‘’“”‹›»…–—]){_CLASS}|(?<![A-Z])[ÂÃ]{_CLASS}|â[€‚„]{_CLASS}|ðŸ{_CLASS}{{2}}|(?:[ÐÑ]{_CLASS}){{2,}}|(?:[ØÙ]{_CLASS}){{2,}}"
    rf"|(?:[à-é]{_CLASS}{{2}}){{2,}}"
)


@dataclass(frozen=True, kw_only=True)
class NormalizeText:
    """See the module. Raises ConfigError for an unknown form or a negative number of blank lines."""

    form: Literal["NFC", "NFKC", "none"] = "NFC"
    max_blank_lines: int = 2
    squeeze_spaces: bool = False
    fix_mojibake: bool = False

    version: ClassVar[int] = 1
    rewrites_text: ClassVar[bool] = True
    uses_unicode_tables: ClassVar[bool] = True
    libraries: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise ConfigError(f"normalize_text.form = {self.form!r}; expected one of {', '.join(FORMS)}")
        if self.max_blank_lines < 0:
            raise ConfigError(f"normalize_text.max_blank_lines = {self.max_blank_lines}; give 0 or more")

    def transform(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Rows and order are kept; a batch in which nothing changes is returned as it is."""
        column = batch.column("text")
        bits = what_may_change(
            column,
            max_blank_lines=self.max_blank_lines,
            squeeze_spaces=self.squeeze_spaces,
            ascii_only=self.form == "NFKC" or self.fix_mojibake,
        )
        changed = np.zeros(batch.num_rows, np.bool_)
        texts: list[str] = []
        for row in np.flatnonzero(bits).tolist():
            before = column[row].as_py()
            after = self._normalize(before, int(bits[row]))
            if after != before:
                changed[row] = True
                texts.append(after)
        if not texts:
            return batch
        rewritten = pc.replace_with_mask(column, pa.array(changed), pa.array(texts, pa.large_string()))
        return set_column(batch, batch.schema.field("text"), rewritten)

    def normalize(self, text: str) -> str:
        """One document.

        >>> NormalizeText().normalize("e\u0301 \\r\\n\\u200bok\\n")
        'é\\nok'
        """
        return self._normalize(text, LAYOUT | JUNK | FORM)

    def _normalize(self, text: str, bits: int) -> str:
        if self.fix_mojibake:
            text = repair_mojibake(text)
        if bits & FORM and self.form != "none":
            text = unicodedata.normalize(self.form, text)
        if bits & JUNK:
            text = text.replace("\r\n", "\n")
            for line_end in _LINE_ENDS:
                text = text.replace(line_end, "\n")
            seen = _without_junk(text)
            if self.form != "none" and seen != text:  # what was taken out may have kept a letter from its accent
                seen = unicodedata.normalize(self.form, seen)
            text = seen
        if not bits & LAYOUT:
            return text
        if self.squeeze_spaces:
            text = _INNER_BLANKS.sub(" ", text)
        lines = [line.rstrip() for line in text.split("\n")]
        return _cap_blank_lines(lines, self.max_blank_lines)


def _without_junk(text: str) -> str:
    if text.isascii():
        return _JUNK.sub("", text)
    text = _JUNK.sub("", text)
    text = _FLAG_OR_TAG.sub(lambda found: found.group(1) or "", text)
    return _JOINER.sub("", text) if "\u200c" in text or "\u200d" in text else text


def _cap_blank_lines(lines: list[str], max_blank_lines: int) -> str:
    kept: list[str] = []
    blank = 0
    for line in lines:
        blank = 0 if line else blank + 1
        if line or (kept and blank <= max_blank_lines):
            kept.append(line)
    while kept and not kept[-1]:
        kept.pop()
    return "\n".join(kept)


def repair_mojibake(text: str) -> str:
    """UTF-8 that was decoded as Windows-1252 decoded again; anything else stays.

    What went wrong twice is repaired where it was Latin script; the rarer pairs of letters are left, since they may be meant.

    >>> repair_mojibake("Itâ€™s a cafÃ© in SÃ£o Paulo")
    'It’s a café in São Paulo'
    """
    while True:
        repaired = _MOJIBAKE.sub(_decode_again, text)
        if repaired == text:  # each repair shortens the text, so this ends
            return text
        text = repaired


def _decode_again(found: re.Match[str]) -> str:
    shown = found.group()
    try:
        return bytes(_TO_BYTE.get(char, ord(char)) for char in shown).decode("utf-8")
    except (UnicodeDecodeError, ValueError):
        return shown
