"""What each stage makes of one fixed set of documents, kept by stage and version.

A difference here without a new `version` would let a build with the old fingerprint hold other bytes. After raising the
version, `python -m tests.golden.test_redaction` writes the file again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa

from filters.normalize import NormalizeText
from filters.pii import EscapePlaceholders, RedactPii
from filters.url import UrlFilter

GOLDEN = Path(__file__).with_name("redaction.json")
TEXTS = [
    "Write to Ann Lee <ann.lee+news@mail.example.org>, or to иван@пример.рф.\nTel. +49 (0)30 1234-567, fax: 030 1234568",
    "Server 93.184.216.34 (formerly 10.0.0.1) answered 2606:4700:4700::1111; nginx version 1.2.3.4, libx (1.2.3.4-1).",
    "git@github.com:owner/repo.git getty@tty1.service icon@2x.png https://user@host.example.org/ pkg@1.2.3",
    "Order 12345678 of 2024-05-17, ISBN 978-3-16-148410-0, pp. 237-242; call us at 0494 92 82 32 or 201-555-0123",
    "電話：03-1234-5678、メールはinfo@example.jpまで。 звоните 8 (495) 123-45-67",
    "held >>EMAIL_ADDRESS<< and > >KEY<< before",
    "\ufeffcre\u0300me\r\nbru\u0302le\u0301e \u200b \n\n\n\n\nمی\u200cخواهم a\u200cb 👩\u200d💻\n",
    "plain text, nothing to do",
]
URLS = [
    None,
    "https://en.pornhub.com:443/x",
    "https://example.org/casino/poker?q=porn",
    "https://example.org/порно",
    "https://sussex.example.org/",
]


def outputs() -> dict[str, Any]:
    """`{"stage version": what it returns}`."""
    batch = pa.RecordBatch.from_pydict(
        {"id": [str(i) for i in range(len(TEXTS))], "text": pa.array(TEXTS, pa.large_string())}
    )
    stages = (
        RedactPii(),
        EscapePlaceholders(),
        NormalizeText(),
        NormalizeText(form="NFKC", squeeze_spaces=True, fix_mojibake=True),
    )
    made: dict[str, Any] = {}
    for stage in stages:
        made[f"{stage!r} version {stage.version}"] = stage.transform(batch).drop_columns(["id"]).to_pydict()
    urls = pa.RecordBatch.from_pydict({"url": pa.array(URLS, pa.string())})
    made[f"{UrlFilter()!r} version {UrlFilter.version}"] = (
        UrlFilter().measure(urls, pa.RecordBatch.from_pydict({})).to_pydict()
    )
    return made


def test_outputs_are_those_of_this_version():
    assert outputs() == json.loads(GOLDEN.read_text(encoding="utf-8"))


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(outputs(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
