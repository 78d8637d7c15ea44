"""The page of an evaluation of tokenizers: a summary, then each figure by language, code language and kind of text. One file.

In: `evaluation.json` of `EvaluateTokenizers`, as plain data. Out: HTML that loads nothing and runs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mixtures.charts import escape, number
from mixtures.page import PAGE

WIDTH, LABELS, RIGHT, ROW, TOP, BOTTOM = 720, 150, 24, 22, 10, 34
NUM_TONES = 6
MAX_ROWS = 60
MAX_EXAMPLES = 20
HEADINGS = {
    "language": "Languages",
    "code_language": "Code languages",
    "content": "LaTeX and the rest",
    "source": "Sources",
}
LEADS = {
    "summary": "All documents together. Fewer tokens are no better in themselves: judge by a small model's bits per byte too.",
    "parity": "The same sentences in every language: how many times the tokens of the pivot a language takes. 1 is parity.",
    "use": "Entries that the documents never use, or rarely, cost rows of the embedding. Rare depends on how much was read.",
    "exact": "Digits and LaTeX commands are tried between letters, spaces, digits, punctuation and other scripts.",
}


def tokenizer_page(record: Mapping[str, Any]) -> str:
    """The page. Labels, groups and tokens are hostile: everything is escaped."""
    found: Sequence[Mapping[str, Any]] = record["tokenizers"]
    documents = found[0]["all"]
    sections = [
        _section("summary", "Summary", _summary(found)),
        _section("parity", "Parity of languages", _parity(found)),
        *(
            _section(column, HEADINGS.get(column, f"By {column}"), _groups(found, column))
            for column in ("language", "code_language", "content", "source")
        ),
        *(
            _section(column, f"By {column}", _groups(found, column))
            for column in found[0]["groups"]
            if column not in HEADINGS
        ),
        _section("use", "Use of the vocabulary", _use(found)),
        _section("exact", "Digits, LaTeX commands, round trips", _exact(found)),
    ]
    return PAGE.format(
        title=escape(
            f"{len(found)} tokenizers on the same documents" if len(found) > 1 else f"Tokenizer {found[0]['label']}"
        ),
        subtitle=escape(f"{number(documents['documents'])} documents, {number(documents['bytes'])} bytes of text"),
        body="\n".join(part for part in sections if part),
    )


def _section(key: str, title: str, content: str) -> str:
    if not content:
        return ""
    lead = f'<p class="quiet">{escape(LEADS[key])}</p>' if key in LEADS else ""
    return f'<section id="{escape(key)}"><h2>{escape(title)}</h2>{lead}{content}</section>'


def _table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """The first column names the row, the others hold figures."""
    head = "".join(_cell("th", heading, figure=k > 0) for k, heading in enumerate(headings))
    body = "".join(
        "<tr>" + "".join(_cell("td", cell, figure=k > 0) for k, cell in enumerate(row)) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(tag: str, content: object, *, figure: bool) -> str:
    style = ' style="text-align:right;font-variant-numeric:tabular-nums"' if figure else ""
    return f"<{tag}{style}>{escape(content)}</{tag}>"


def rate(value: float | None, digits: int = 3) -> str:
    """A rate with its digits; a dash where there was nothing to divide by."""
    return "–" if value is None else f"{value:.{digits}f}"


def share(value: float | None) -> str:
    """A share in percent, never rounded up to all."""
    if value is None:
        return "–"
    return "100%" if value == 1 else f"{min(100 * value, 99.99):.2f}%"


def _summary(found: Sequence[Mapping[str, Any]]) -> str:
    headings = (
        "",
        "entries",
        "bytes per token",
        "fertility",
        "continued words",
        "Gini",
        "failed round trips",
        "encoder",
    )
    rows = []
    for entry in found:
        sums, parallel = entry["all"], entry["parallel"]
        rows.append(
            (
                entry["label"], number(entry["vocabulary"]["vocab_size"]), rate(sums["bytes_per_token"]), rate(sums["fertility"]),
                share(sums["continued"]), rate(parallel["gini"]) if parallel else "–", number(sums["failures"]),
                entry["vocabulary"]["encoder"],
            )
        )  # fmt: skip
    return _table(headings, rows)


def _parity(found: Sequence[Mapping[str, Any]]) -> str:
    given = [entry for entry in found if entry["parallel"]]
    if not given:
        return ""
    pivot = given[0]["parallel"]["pivot"]
    first = given[0]["parallel"]["languages"]
    order = sorted(first, key=lambda language: (-(first[language]["premium"] or 0), language))

    def premium(entry: Mapping[str, Any], language: str) -> float | None:
        value: float | None = entry["parallel"]["languages"][language]["premium"]
        return value

    labels = [str(entry["label"]) for entry in found]
    points = [[premium(entry, language) if entry["parallel"] else None for entry in found] for language in order]
    table = _table(
        ("language", *(str(entry["label"]) for entry in given)),
        [
            (
                language,
                *(
                    f"{rate(premium(entry, language))} ({rate(entry['parallel']['languages'][language]['parity'])})"
                    for entry in given
                ),
            )
            for language in order
        ],
    )
    words = f"Tokens of all sentences over those of {pivot}; in brackets the mean of each sentence's ratio."
    note = f'<p class="quiet">{escape(words)}</p>'
    return dots(order, labels, points, x_label=f"times the tokens of {pivot}") + note + table


def _groups(found: Sequence[Mapping[str, Any]], column: str) -> str:
    groups = found[0]["groups"].get(column, {})
    if not groups or (len(groups) < 2 and column != "content"):
        return ""
    order = sorted(groups, key=lambda value: (-groups[value]["bytes"], value))
    shown = sorted(order[:MAX_ROWS]) if len(order) <= MAX_ROWS else order[:MAX_ROWS]
    labels = [str(entry["label"]) for entry in found]

    def of(value: str, name: str) -> list[float | None]:
        return [entry["groups"][column].get(value, {}).get(name) for entry in found]

    parts = [dots(shown, labels, [of(value, "bytes_per_token") for value in shown], x_label="bytes per token")]
    kinds: Sequence[tuple[str, str, Callable[[float | None], str]]] = (
        ("bytes_per_token", "Bytes per token", rate),
        ("fertility", "Fertility: tokens per word", rate),
        ("continued", "Words of two tokens and more", share),
    )
    for name, title, spell in kinds:
        rows = [
            (value, number(groups[value]["bytes"]), *(spell(rated) for rated in of(value, name))) for value in shown
        ]
        parts.append(f"<h3>{escape(title)}</h3>" + _table((column, "bytes", *labels), rows))
    if len(order) > len(shown):
        parts.append(f'<p class="quiet">{len(order) - len(shown)} smaller ones are in the JSON.</p>')
    return "".join(parts)


def _use(found: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for entry in found:
        uses, about = entry["uses"], entry["vocabulary"]
        rows.append(
            (
                entry["label"], number(uses["entries"]), number(uses["never"]),
                f"{number(uses['rare'])} ({share(uses['rare'] / max(uses['entries'], 1))})",
                number(about["unreachable"]["tokens"]), number(about["parts_of_characters"]), number(about["control"]),
            )
        )  # fmt: skip
    least = found[0]["uses"]["min_uses"]
    headings = (
        "",
        "entries text can use",
        "never used",
        f"rare: under {least} uses",
        "unreachable",
        "parts of characters",
        "control",
    )
    examples = "".join(
        f"<p>{escape(entry['label'])}: unreachable are {_spelled(entry['vocabulary']['unreachable']['examples'])}</p>"
        for entry in found
        if entry["vocabulary"]["unreachable"]["examples"]
    )
    return _table(headings, rows) + examples


def _exact(found: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for entry in found:
        digits, latex, sums = entry["vocabulary"]["digits"], entry["vocabulary"]["latex"], entry["all"]
        rows.append(
            (
                entry["label"], f"{digits['exact']} of {digits['tried']}", number(digits["joined_tokens"]),
                share(sums["digits_single"]), f"{latex['exact']} of {latex['tried']}", share(sums["latex_single"]),
                f"{number(sums['failures'])} of {number(sums['documents'])}",
            )
        )  # fmt: skip
    headings = (
        "", "digits exact", "tokens with a digit and more", "digits single in text", "commands exact", "commands single in text",
        "documents that do not come back",
    )  # fmt: skip
    examples = "".join(
        f"<p>{escape(entry['label'])}: not one token everywhere are {_spelled(entry['vocabulary']['latex']['not_exact'])}</p>"
        for entry in found
        if entry["vocabulary"]["latex"]["not_exact"]
    )
    return _table(headings, rows) + examples


def _spelled(tokens: Sequence[str]) -> str:
    return ", ".join(f"<code>{escape(repr(token))}</code>" for token in tokens[:MAX_EXAMPLES])


def dots(rows: Sequence[str], labels: Sequence[str], values: Sequence[Sequence[float | None]], *, x_label: str) -> str:
    """One line a row with a mark for each label; `values[row][label]`, None where there is none. The axis starts at 0."""
    numbers = [value for row in values for value in row if value is not None]
    if not numbers:
        return ""
    high = max(*numbers, 1e-9) * 1.04
    height = TOP + ROW * len(rows) + BOTTOM

    def x(value: float) -> float:
        return LABELS + (WIDTH - LABELS - RIGHT) * value / high

    step = next(s for s in (0.1, 0.2, 0.25, 0.5, 1, 2, 5, 10, 20, 50, 100, high) if high / s <= 12)
    ticks = [step * k for k in range(int(high / step) + 1)]
    bottom = TOP + ROW * len(rows)
    drawn = [
        f'<line class="grid" x1="{x(t):.1f}" x2="{x(t):.1f}" y1="{TOP}" y2="{bottom}"/>'
        f'<text x="{x(t):.1f}" y="{bottom + 15}" text-anchor="middle">{number(round(t, 6))}</text>'
        for t in ticks
    ]
    for r, (row, found) in enumerate(zip(rows, values, strict=True)):
        y = TOP + ROW * r + ROW / 2
        drawn.append(f'<text x="{LABELS - 10}" y="{y + 4:.1f}" text-anchor="end">{escape(row[:22])}</text>')
        drawn.append(f'<line class="grid" x1="{LABELS}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        drawn += [
            _mark(k, x(value), y, f"{labels[k]}, {row}: {value:.3f}")
            for k, value in enumerate(found)
            if value is not None
        ]
    drawn.append(f'<text x="{WIDTH - RIGHT}" y="{bottom + 30}" text-anchor="end">{escape(x_label)}</text>')
    legend = "".join(f"<span>{_key(k)}{escape(label)}</span>" for k, label in enumerate(labels))
    title = f"{x_label} of {len(rows)} groups under {len(labels)} tokenizers"
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {height}" role="img"><title>{escape(title)}</title>{"".join(drawn)}</svg>'
        f'<div class="legend">{legend}</div>'
    )


def _mark(k: int, x: float, y: float, title: str) -> str:
    """A disc, then a square, then a diamond, as the tones come round."""
    tone, shape, told = f"s{k % NUM_TONES}", k // NUM_TONES % 3, f"<title>{escape(title)}</title>"
    if shape == 0:
        return f'<circle class="{tone}" cx="{x:.1f}" cy="{y:.1f}" r="5" fill-opacity="0.85">{told}</circle>'
    if shape == 1:
        return f'<rect class="{tone}" x="{x - 4.5:.1f}" y="{y - 4.5:.1f}" width="9" height="9">{told}</rect>'
    return f'<path class="{tone}" d="M{x:.1f} {y - 6:.1f}l6 6-6 6-6-6z">{told}</path>'


def _key(k: int) -> str:
    mark = _mark(k, 7, 7, "").replace("<title></title>", "")
    return f'<svg width="14" height="14" viewBox="0 0 14 14" aria-hidden="true">{mark}</svg> '
