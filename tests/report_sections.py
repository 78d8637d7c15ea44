"""Sections of a report as a small build would give them, hostile text included."""

from __future__ import annotations

import math
from typing import Any

HOSTILE = '</pre><script>alert(1)</script><img src="http://example.org/x.png" onerror=x>\x00\x1b[31m\u202egnp.exe &amp;'


def component(name: str, planned: int, tokens: int) -> dict[str, Any]:
    return {
        "name": name,
        "fingerprint": "c65cde2f01ab" * 5,
        "planned_tokens": planned,
        "tokens": tokens,
        "epochs": planned / tokens,
        "capped": False,
    }


def sections() -> dict[str, Any]:
    """Every section filled."""
    web = {
        "records": 1240,
        "documents": 1210,
        "kept": 742,
        "quarantined": {"truncated": 18, "too_large": 12},
        "dropped": {
            "gopher_quality/too_few_words": 171,
            "c4_quality/javascript": 64,
            "fineweb_quality/few_punctuated_lines": 58,
            "gopher_repetition/repeated_lines": 44,
            "language/too_uncertain": 39,
            "url_filter/blocked_word": 22,
            "gopher_quality/mostly_symbols": 18,
            "gopher_quality/lines_end_in_ellipsis": 14,
            "gopher_repetition/repeated_5_grams": 13,
            "c4_quality/lorem_ipsum": 9,
            HOSTILE[:40]: 16,
        },
        "languages": {"en": {"kept": 300}, "de": {"kept": 120}},
    }
    languages = [
        "en",
        "de",
        "fr",
        "es",
        "it",
        "pt",
        "nl",
        "pl",
        "cs",
        "ro",
        "sv",
        "ru",
        "ar",
        "ur",
        "hi",
        "ja",
        "ko",
        "zh",
    ]
    spread = {
        name: {"documents": 90 - 4 * i, "tokens": int(52_000 * 0.82**i) + 900} for i, name in enumerate(languages)
    }
    tokens = {
        "documents": 655,
        "kept": 655,
        "dropped": {},
        "kept_bytes": 1_130_000,
        "tokens": 331_204,
        "languages": spread,
    }
    code = {"documents": 120, "kept": 120, "dropped": {}, "kept_bytes": 662_083, "tokens": 241_009}
    note = {
        "asked_vocab_size": 4096,
        "vocab_size": 4096,
        "exhausted": False,
        "num_merges": 3262,
        "num_reserved": 32,
        "num_latex_commands": 546,
        "pattern": "both",
        "num_documents": 775,
        "num_bytes": 1_792_083,
        "num_pretokens": 420_113,
        "num_distinct_pretokens": 21_972,
        "largest_pair_count": 76_322,
        "beyond_32_bits": False,
    }
    losses = [8.3 * math.exp(-step / 22) + 4.1 + 0.25 * math.sin(step * 1.7) for step in range(60)]
    return {
        "title": "Demo: five corpora to one mixture",
        "artifacts": [
            {
                "name": "web",
                "fingerprint": "1f" * 32,
                "counts": web,
                "notes": {},
                "seconds": 12.4,
                "lengths": {
                    "unit": "words",
                    "edges": [0, 25, 50, 100, 200, 400, 800, 1600, 3200, 6400],
                    "counts": [12, 160, 240, 310, 220, 140, 70, 40, 18],
                },
            },
            {
                "name": "web_exact",
                "fingerprint": "2e" * 32,
                "counts": {"documents": 742, "kept": 690, "dropped": {"exact_dedup/exact_duplicate": 52}},
                "seconds": 0.8,
                "clusters": {2: 31, 3: 6, 4: 3},
            },
            {
                "name": "web_near",
                "fingerprint": "3d" * 32,
                "counts": {"documents": 690, "kept": 655, "dropped": {"near_dedup/near_duplicate": 35}},
                "seconds": 2.1,
                "clusters": {"2": 22, "3": 5, "8": 1},
            },
            {"name": "tokenizer", "fingerprint": "4c" * 32, "counts": {}, "notes": {"tokenizer": note}, "seconds": 3.0},
            {"name": "web_tokens", "fingerprint": "5b" * 32, "counts": tokens, "seconds": 1.2},
            {"name": "code_tokens", "fingerprint": "6a" * 32, "counts": code},
        ],
        "mixture": {
            "budget_tokens": 60_000,
            "num_sequences": 234,
            "sequence_length": 256,
            "weight_unit": "tokens",
            "components": [
                component("web/crawl", 27_000, 298_000),
                component("web/news", 9_000, 33_000),
                component("code", 24_000, 216_000),
            ],
            "warnings": [
                "component 'web/news' repeats every 66,000 tokens (1.36 epochs), within the memorization window of 100,000"
            ],
        },
        "smoke": {
            "model": {"architecture": "FalconH1ForCausalLM", "num_parameters": 391_576},
            "steps": 60,
            "batch_size": 4,
            "losses": losses,
            "healthy": True,
            "bits_per_byte": {
                "before": 4.07,
                "after": 2.91,
                "components": {"web/crawl": {"before": 4.1, "after": 3.0}, "code": {"before": 4.0, "after": 2.7}},
            },
        },
        "samples": [
            {
                "id": "a1",
                "source": "web",
                "text": "Home | Login | Cart (0)\nHome | Login\n" * 40,
                "reason": "gopher_quality/too_few_words",
                "explain": "num_words = 12 < min_words = 50",
            },
            {
                "id": "b2",
                "source": "web",
                "text": "الصقر يطير فوق الجبل",
                "reason": "language/too_uncertain",
                "explain": "language_probability = 0.41 < min_probability = 0.65",
            },
            {"id": HOSTILE, "source": "web", "text": HOSTILE, "reason": HOSTILE, "explain": HOSTILE},
        ],
    }
