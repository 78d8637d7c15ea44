"""Slow oracles of the text statistics, written from the papers with `str`, `regex` and `collections`: no Numba, no bytes.

Each function takes a text and returns what `pipelines.kernels.definitions` says the count is. They share no code with
the kernels. `regex` supplies the scripts and properties that Python's `unicodedata` does not know.
"""

from __future__ import annotations

import re
from collections import Counter

import regex

ONE = r"[\p{Han}\p{Hiragana}\p{Katakana}\u30fc\uff70\uff9e\uff9f]"
WORD = regex.compile(
    rf"(?:(?!\p{{M}})(?=[\p{{L}}\p{{N}}]){ONE})\p{{M}}*|(?:(?!(?!\p{{M}}){ONE})[\p{{L}}\p{{N}}\p{{M}}])+"
)
TERMINAL = regex.compile(r"[\p{Sentence_Terminal}\u17d6\u17d9\u17da]")
CITATION = re.compile(r"\[\d*]|\[edit]|\[citation needed]")
POLICIES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
STOP_WORDS = {"the", "be", "to", "of", "and", "that", "have", "with"}


def words(text):
    return WORD.findall(text)


def duplicates(elements):
    """(elements equal to one before, their characters)."""
    seen = Counter()
    number = size = 0
    for element in elements:
        if seen[element]:
            number, size = number + 1, size + len(element)
        seen[element] += 1
    return number, size


def top_ngram_chars(tokens, n):
    grams = [" ".join(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]
    if not grams:
        return 0
    gram, count = Counter(grams).most_common(1)[0]
    return len(gram) * count


def duplicate_ngram_chars(tokens, n):
    seen, size, i = set(), 0, 0
    while i + n <= len(tokens):
        gram = tuple(tokens[i : i + n])
        if gram in seen:
            size, i = size + sum(map(len, gram)), i + n
        else:
            seen.add(gram)
            i += 1
    return size


def sentences(line):
    """Pieces with a word: cut after [.!?] and closers where white space follows, and after other terminals."""
    pieces, piece, closing = [], "", False
    for character in line:
        if character.isspace() and closing:
            pieces.append(piece)
            piece = ""
        piece += character
        closing = character in ".!?" or (closing and character in "\"')]”’»")
        if ord(character) > 127 and TERMINAL.match(character):
            pieces.append(piece)
            piece = ""
    return [piece for piece in [*pieces, piece] if WORD.search(piece)]


def c4_line(line):
    """(line without citations, fault or "kept", reaches the 'lorem ipsum' check and fails it, the same for '{')."""
    line = line.strip()
    tokens = line.split()
    if any(len(token) > 1000 for token in tokens):
        return line, "too_long_word", False, False
    line = CITATION.sub("", line)
    if not line.endswith((".", "?", "!", '"', "'")) or line.endswith("..."):
        return line, "no_terminal", False, False
    if len(tokens) < 3:
        return line, "too_few_words", False, False
    lower = line.lower()
    lorem = "lorem ipsum" in lower
    if "javascript" in lower:
        return line, "javascript", lorem, False
    if any(policy in lower for policy in POLICIES):
        return line, "policy", lorem, "{" in line
    return line, "kept", lorem, "{" in line


def statistics(text):
    """Every count of `pipelines.kernels.definitions.COUNTS`, by name."""
    tokens, lines = words(text), text.splitlines()
    gopher_lines, paragraphs = re.split("\n+", text), re.split("\n{2,}", text.strip())
    written = [line for line in text.split("\n") if line.strip()]
    judged = [c4_line(line) for line in lines]
    kept = [line for line, fault, _, _ in judged if fault == "kept"]
    counts = {
        "num_chars": len(text),
        "num_newlines": text.count("\n"),
        "num_chars_without_newlines": len(text.replace("\n", "")),
        "num_words": len(tokens),
        "num_word_chars": sum(map(len, tokens)),
        "num_distinct_words": len(set(tokens)),
        "num_alphabetic_words": sum(any(c.isalpha() for c in token) for token in tokens),
        "num_english_stop_words": len(STOP_WORDS & set(tokens)),
        "num_hashes": text.count("#"),
        "num_ellipses": text.count("...") + text.count("…"),
        "num_lines": len(lines),
        "num_bullet_lines": sum(line.lstrip().startswith(("•", "-")) for line in lines),
        "num_ellipsis_lines": sum(line.rstrip().endswith(("...", "…")) for line in lines),
        "gopher_num_lines": len(gopher_lines),
        "num_paragraphs": len(paragraphs),
        "c4_num_kept_lines": len(kept),
        "c4_num_sentences": sum(len(sentences(line)) for line in kept),
        "c4_num_lorem_ipsum_lines": sum(lorem for _, _, lorem, _ in judged),
        "c4_num_curly_bracket_lines": sum(brace for _, _, _, brace in judged),
        "fineweb_num_lines": len(written),
        "fineweb_num_punctuated_lines": sum(TERMINAL.match(line[-1]) is not None for line in written),
        "fineweb_num_short_lines": sum(len(line) <= 30 for line in written),
        "fineweb_num_duplicate_line_chars": duplicates(written)[1],
    }
    number, size = duplicates(gopher_lines)
    counts |= {"gopher_num_duplicate_lines": number, "gopher_num_duplicate_line_chars": size}
    number, size = duplicates(paragraphs)
    counts |= {"num_duplicate_paragraphs": number, "num_duplicate_paragraph_chars": size}
    counts |= {f"num_top_{n}_gram_chars": top_ngram_chars(tokens, n) for n in (2, 3, 4)}
    counts |= {f"num_duplicate_{n}_gram_chars": duplicate_ngram_chars(tokens, n) for n in range(5, 11)}
    return counts


def rewritten_by_c4(text):
    """What C4 keeps of a text: its kept lines, without citations, joined by LF and stripped."""
    judged = [c4_line(line) for line in text.splitlines()]
    return "\n".join(line for line, fault, _, _ in judged if fault == "kept").strip()
