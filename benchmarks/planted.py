"""A planted corpus: documents of made-up words in eight languages, of which many are near duplicates, and who is whose.

Nothing is stored and nothing depends on order: a document is a function of a `Planting` and of its position, through a
counter-based generator (`kernels.hashing.mix` of a key and a counter), so any block can be made by any process, and
any document again. Words are drawn by Zipf's law from 30,000 syllable words a language, lengths are log-normal.

Positions are scattered over the corpus by an affine permutation; behind it documents stand in groups of 100, cut into
loners and *families* of 2 to 50. The first member of a family is its original. The others are edited towards a Jaccard
similarity of 5-word shingles between 0.5 and 0.98, by replacing, inserting or deleting words, scattered or in one run,
or are copies, in the same or another layout. In a *chain* each member is an edit of the one before. Some families
carry the header and footer of one of 50 sites. Targets are aims: truth is recomputed from the texts
(`pair_similarities`). Two documents of different families are unlike: they share a few shingles of the commonest words,
and of a site's boilerplate, which is at most a third of either text.

    planting = Planting(num_documents=1_000)
    planting.documents(0, 100)              # a batch: id, source, language, text
    planted_pairs(planting, 0, 10)          # int64 [num_pairs, 2]: positions of members of one family
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit

from pipelines.errors import ConfigError
from pipelines.kernels.hashing import mix
from pipelines.kernels.shingles import num_common, shingle_sets

LANGUAGES: Final = ("en", "pl", "ru", "ar", "hi", "zh", "ko", "th")
"""Whose script is used; the words mean nothing in any of them. `zh` and `th` are written without spaces."""
UNSPACED: Final = ("zh", "th")
SOURCES: Final = ("web", "forum", "books")
VOCABULARY: Final = 30_000
GROUP: Final = 100
MAX_FAMILY: Final = 50
NUM_SITES: Final = 50
MAX_DOCUMENTS: Final = 1 << 31
MAX_WORDS: Final = 1 << 24
NUM_KINDS: Final = 8
"""Of edits: replace, insert, delete scattered words; replace, insert, delete one run; copy; copy in another layout."""
BATCH_DOCUMENTS: Final = 1024
_ZIPF_BITS: Final = 18
_SIZE_BITS: Final = 12
_ALPHABETS: Final = {
    "en": ("b c d f g h l m n p r s t v w", "a e i o u"),
    "pl": ("b cz d ł g k l m ń p r ś t w ż", "a ą e ę y ó"),
    "ru": ("б в г д ж з к л м н п р с т ш", "а е и о у я"),
    "ar": ("ب ت ج ح د ر س ش ع ف ق ك ل م ن", "ا و ي ه ة"),
    "hi": ("क ख ग च ज ट ड त द न प ब म र ल स", "ा ि ी ु े ो"),
    "th": ("ก ข ค ง จ ช ด ต ท น บ ป พ ม ร ล", "า ิ ี ุ ู ะ"),
}
_FIRST_CODE_POINT: Final = {"zh": 0x4E00, "ko": 0xAC00}

I64 = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Planting:
    """All that the corpus depends on. `loners` is the chance that a family has one member; words are vocabulary words."""

    num_documents: int = 200_000
    seed: int = 1
    loners: float = 0.8
    median_words: int = 160
    spread: float = 0.8
    min_words: int = 30
    max_words: int = 2_000
    boilerplate: float = 0.2
    boilerplate_words: int = 20

    def __post_init__(self) -> None:
        if not 1 <= self.num_documents <= MAX_DOCUMENTS:
            raise ConfigError(f"num_documents = {self.num_documents}: plant 1 to {MAX_DOCUMENTS} documents")
        if not 1 <= self.min_words <= self.max_words <= MAX_WORDS:
            raise ConfigError(f"words = {self.min_words} to {self.max_words}: 1 to {MAX_WORDS}, in this order")

    def documents(self, first: int, last: int) -> pa.RecordBatch:
        """Documents at positions `first` to `last`: id, source, language: string; text: large_string."""
        positions = np.arange(first, min(last, self.num_documents))
        return self.documents_at(positions)

    def documents_at(self, positions: I64) -> pa.RecordBatch:
        """Documents at any positions, in the order given."""
        data, offsets, languages, sources = _write(
            positions, self.num_documents, self._permutation(), np.uint64(self.seed), self.loners, self._lengths(),
            self._site(), _family_sizes(), _zipf(), *_vocabulary(),
        )  # fmt: skip
        text = pa.LargeStringArray.from_buffers(positions.size, pa.py_buffer(offsets), pa.py_buffer(data))
        digits = pc.utf8_lpad(pa.array(positions).cast(pa.string()), 10, "0")
        return pa.RecordBatch.from_pydict(
            {
                "id": digits,
                "source": pa.array(SOURCES).take(pa.array(sources)),
                "language": pa.array(LANGUAGES).take(pa.array(languages)),
                "text": text,
            }
        )

    def families(self, first_group: int, last_group: int) -> tuple[I64, I64]:
        """Positions of the documents in these groups and the number of each one's family, int64 each, by family."""
        places = np.arange(first_group * GROUP, min(last_group * GROUP, self.num_documents))
        multiplier, increment = self._permutation()
        inverse = pow(multiplier, -1, self.num_documents) if self.num_documents > 1 else 0
        positions = (places - increment) % self.num_documents * inverse % self.num_documents
        return positions, _family_numbers(
            places, self.num_documents, np.uint64(self.seed), self.loners, _family_sizes()
        )

    def _permutation(self) -> tuple[int, int]:
        """Multiplier and increment of the affine map from position to place; near the golden section, it spreads best."""
        multiplier = int(self.num_documents * 0.6180339887) or 1
        while math.gcd(multiplier, self.num_documents) != 1:
            multiplier += 1
        return multiplier, self.num_documents // 3

    def _lengths(self) -> tuple[float, float, int, int]:
        return math.log(self.median_words), self.spread, self.min_words, self.max_words

    def _site(self) -> tuple[float, int]:
        return self.boilerplate, self.boilerplate_words


def planted_pairs(planting: Planting, first_group: int, last_group: int) -> I64:
    """All pairs of members of one family in these groups of 100 documents: positions, int64 [num_pairs, 2]."""
    positions, families = planting.families(first_group, last_group)
    starts = np.flatnonzero(np.append(True, families[1:] != families[:-1]))
    pairs = []
    for start, stop in zip(starts, np.append(starts[1:], families.size), strict=True):
        left, right = np.triu_indices(stop - start, 1)
        pairs.append(np.stack([positions[start + left], positions[start + right]], axis=1))
    return np.concatenate(pairs) if pairs else np.zeros((0, 2), np.int64)


def num_groups(planting: Planting) -> int:
    """Groups of 100 documents, the last one perhaps smaller."""
    return -(-planting.num_documents // GROUP)


def pair_similarities(texts: pa.Array, pairs: I64, shingle_size: int = 5) -> npt.NDArray[np.float64]:
    """True Jaccard of the texts of each pair of row numbers, float64 [num_pairs], from their whole shingle sets."""
    values, offsets = shingle_sets(texts, shingle_size)
    found = np.zeros(len(pairs), np.float64)
    _similarities(values, offsets, pairs, found)
    return found


def similarities_by_position(planting: Planting, pairs: I64) -> npt.NDArray[np.float64]:
    """`pair_similarities` of pairs of positions: their texts are made again."""
    positions, rows = np.unique(pairs, return_inverse=True)
    return pair_similarities(planting.documents_at(positions).column("text"), rows.reshape(pairs.shape))


# --- the generator ----------------------------------------------------------------------------------------------------


@cache
def _family_sizes() -> I64:
    """Quantiles of a family's size, 2 to MAX_FAMILY with weight 1 / size**2: int64 [2**_SIZE_BITS]."""
    return _quantiles(np.arange(2, MAX_FAMILY + 1) ** -2.0, _SIZE_BITS) + 2


@cache
def _zipf() -> I64:
    """Quantiles of Zipf's law over the vocabulary, exponent 1: int64 [2**_ZIPF_BITS]."""
    return _quantiles(1.0 / np.arange(1, VOCABULARY + 1), _ZIPF_BITS)


def _quantiles(weights: npt.NDArray[np.float64], bits: int) -> I64:
    edges = np.cumsum(weights) / weights.sum()
    at = (np.arange(1 << bits) + 0.5) / (1 << bits)
    return np.minimum(np.searchsorted(edges, at), weights.size - 1).astype(np.int64)


@cache
def _vocabulary() -> tuple[npt.NDArray[np.uint8], I64, npt.NDArray[np.bool_]]:
    """UTF-8 of all words, offsets int64 [languages * VOCABULARY + 1], and which languages are written with spaces."""
    encoded = [word.encode() for language in LANGUAGES for word in _words_of(language)]
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum([len(word) for word in encoded])])
    spaced = np.array([language not in UNSPACED for language in LANGUAGES])
    return np.frombuffer(b"".join(encoded), np.uint8), offsets, spaced


def _words_of(language: str) -> list[str]:
    """VOCABULARY different words, the common ones short: rank in a mixed radix of syllables."""
    if language in _ALPHABETS:
        consonants, vowels = (part.split() for part in _ALPHABETS[language])
        syllables = [c + v for c in consonants for v in vowels]
    else:
        syllables = [chr(_FIRST_CODE_POINT[language] + 7 * i) for i in range(600)]
    words: list[str] = []
    length = 1
    while len(words) < VOCABULARY:
        for number in range(min(len(syllables) ** length, VOCABULARY - len(words))):
            # a stride scatters the syllables, so that neighbours in rank do not begin alike
            rest = number * 7919 % len(syllables) ** length
            word = []
            for _ in range(length):
                rest, syllable = divmod(rest, len(syllables))
                word.append(syllables[syllable])
            words.append("".join(word))
        length += 1
    return words


_ONE: Final = np.uint64(1)
_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)


@njit(cache=True, nogil=True)
def _draw(key: Any, counter: Any) -> Any:
    return mix(key + mix(np.uint64(counter) * _GOLDEN + _ONE))


@njit(cache=True, nogil=True)
def _unit(key: Any, counter: Any) -> Any:
    """Uniform in [0, 1)."""
    return np.float64(_draw(key, counter) >> np.uint64(11)) / 9007199254740992.0


@njit(cache=True, nogil=True)
def _find_family(place: Any, total: Any, seed: Any, loners: Any, sizes: Any) -> Any:
    """Number of the family that stands at `place`, the place of its first member, and its size."""
    group = place // GROUP
    key = mix(seed * _GOLDEN + mix(np.uint64(group)))
    first, number = group * GROUP, 0
    while True:
        size = np.int64(1)
        if _unit(key, 2 * number) >= loners:
            size = sizes[np.int64(_draw(key, 2 * number + 1) >> np.uint64(64 - _SIZE_BITS))]
        size = min(size, (group + 1) * GROUP - first, total - first)
        if place < first + size:
            return group * GROUP + number, first, size
        first += size
        number += 1


@njit(cache=True, nogil=True)
def _family_numbers(places: Any, total: Any, seed: Any, loners: Any, sizes: Any) -> Any:
    numbers = np.empty(places.size, np.int64)
    for i in range(places.size):
        numbers[i] = _find_family(places[i], total, seed, loners, sizes)[0]
    return numbers


@njit(cache=True, nogil=True)
def _edit(words: Any, num_words: Any, edited: Any, key: Any, kind: Any, target: Any) -> Any:
    """`words[:num_words]` into `edited`, changed so that similarity is about `target`; returns their number.

    Of n words, m changed ones far apart spoil 5 m shingles and make 5 m (replaced), 4 m (deleted); a run of r spoils
    r + 4. Each number below solves (shared) / (all) = target for m or r.
    """
    n, t = num_words, target
    if kind >= 6:
        edited[:n] = words[:n]
        return n
    if kind < 3:
        per_word = 5.0 * (1.0 + t) if kind == 0 else (4.0 + 5.0 * t if kind == 1 else 5.0 + 4.0 * t)
        count = max(1, min(np.int64(n * (1.0 - t) / per_word + 0.5), n // 3))
        to, at, previous = 0, 0, -1
        for k in range(count):
            position = np.int64((k + _unit(key, 10 + 2 * k)) * n / count)
            if position == previous or position >= n:
                continue
            previous = position
            while at < position:
                edited[to] = words[at]
                to, at = to + 1, at + 1
            if kind != 2:
                edited[to] = np.int64(_draw(key, 11 + 2 * k) % np.uint64(VOCABULARY))
                to += 1
            if kind != 1:
                at += 1
        while at < n:
            edited[to] = words[at]
            to, at = to + 1, at + 1
        return to
    if kind == 3:
        run = n * (1.0 - t) / (1.0 + t) - 4.0
    elif kind == 4:
        run = (n - 4.0) / t - n - 4.0
    else:
        run = n - 4.0 - t * (n + 4.0)
    length = max(1, min(np.int64(run + 0.5), n // 2))
    start = np.int64(_unit(key, 3) * (n - length))
    edited[:start] = words[:start]
    to = start
    if kind != 5:
        for k in range(length):
            edited[to] = np.int64(_draw(key, 10 + k) % np.uint64(VOCABULARY))
            to += 1
    at = start if kind == 4 else start + length
    edited[to : to + n - at] = words[at:n]
    return to + n - at


@njit(cache=True, nogil=True)
def _write(
    positions: Any, total: Any, permutation: Any, seed: Any, loners: Any, lengths: Any, site: Any, sizes: Any,
    zipf: Any, word_bytes: Any, word_offsets: Any, spaced: Any,
) -> Any:  # fmt: skip
    """UTF-8 of the documents, offsets, number of the language and of the source of each."""
    data = np.empty(max(1024, positions.size * 1024), np.uint8)
    offsets = np.zeros(positions.size + 1, np.int64)
    languages, sources = np.empty(positions.size, np.int64), np.empty(positions.size, np.int64)
    # an edit at most doubles a text, a chain of them grows by a quarter a link at most: bounded by max_words below
    room = 4 * lengths[3] + 16
    words, edited = np.empty(room, np.int64), np.empty(room, np.int64)
    end = 0
    for i in range(positions.size):
        place = (permutation[0] * positions[i] + permutation[1]) % total
        number, first, _ = _find_family(place, total, seed, loners, sizes)
        family = mix((seed + np.uint64(7)) * _GOLDEN + mix(np.uint64(number)))
        language = np.int64(_draw(family, 0) % np.uint64(spaced.size))
        normal = math.sqrt(-2.0 * math.log(1.0 - _unit(family, 1))) * math.cos(2.0 * math.pi * _unit(family, 2))
        n = np.int64(min(max(math.exp(lengths[0] + lengths[1] * normal), lengths[2]), lengths[3]))
        content = _draw(family, 3)
        for k in range(n):
            words[k] = zipf[np.int64(_draw(content, k) >> np.uint64(64 - _ZIPF_BITS))]
        layout, of_site = family, n
        chain = _unit(family, 4) < 0.15
        for member in range(1, place - first + 1):
            if not chain and member < place - first:
                continue
            key = _draw(family, 100 + member)
            kind = np.int64(_draw(key, 0) % np.uint64(NUM_KINDS))
            target = 0.5 + 0.48 * _unit(key, 1)
            if chain:
                kind, target = kind % 3, 0.75 + 0.2 * _unit(key, 1)
            if n > 2 * lengths[3]:
                kind = 2
            n = _edit(words, n, edited, key, kind, target)
            words, edited = edited, words
            layout = family if kind == 6 else key
        header = np.int64(0)
        if site[0] > 0.0 and _unit(family, 5) < site[0] and of_site >= 6 * site[1]:
            header = np.int64(site[1])
        owner = mix(_draw(seed, 6) + _draw(family, 7) % np.uint64(NUM_SITES))
        all_words = n + 2 * header
        base = language * VOCABULARY
        sentence = 8 + np.int64(_draw(layout, 8) % np.uint64(13))
        for k in range(all_words):
            if k < header:
                word = np.int64(_draw(owner, k) % np.uint64(VOCABULARY))
            elif k < header + n:
                word = words[k - header]
            else:
                word = np.int64(_draw(owner, 1000 + k - header - n) % np.uint64(VOCABULARY))
            start, stop = word_offsets[base + word], word_offsets[base + word + 1]
            if end + stop - start + 8 > data.size:
                grown = np.empty(2 * data.size, np.uint8)
                grown[:end] = data[:end]
                data = grown
            for b in range(start, stop):
                data[end] = word_bytes[b]
                end += 1
            if (k + 1) % sentence == 0:
                data[end] = 46
                end += 1
                data[end] = 10 if (k + 1) % (5 * sentence) == 0 else 32
                end += 1
            elif spaced[language] and k + 1 < all_words:
                data[end] = 32
                end += 1
        offsets[i + 1] = end
        languages[i] = language
        sources[i] = np.int64(_draw(family, 200 + place - first) % np.uint64(3))
    return data[:end].copy(), offsets, languages, sources


@njit(cache=True, nogil=True)
def _similarities(values: Any, offsets: Any, pairs: Any, found: Any) -> None:
    for i in range(pairs.shape[0]):
        left = values[offsets[pairs[i, 0]] : offsets[pairs[i, 0] + 1]]
        right = values[offsets[pairs[i, 1]] : offsets[pairs[i, 1] + 1]]
        common = num_common(left, right)
        union = left.size + right.size - common
        found[i] = common / union if union > 0 else 0.0
