"""File names -> kinds of files."""

from __future__ import annotations

SUFFIXES = {
    "warc": (".warc", ".wet"),
    "jsonl": (".jsonl", ".ndjson", ".jsonlines"),
    "parquet": (".parquet", ".pq"),
}
COMPRESSIONS = (".gz", ".gzip", ".zst", ".zstd", ".lz4")


def kind_of(uri: str) -> str | None:
    """`warc`, `jsonl` or `parquet` by the suffix; `arc` for what is known and not read; None for anything else.

    >>> kind_of("s3://b/CC-MAIN-1.warc.wet.gz"), kind_of("a.JSONL.zst"), kind_of("a.parquet.gz"), kind_of("a.json")
    ('warc', 'jsonl', None, None)
    """
    name = uri.rsplit("/", 1)[-1].lower()
    bare = name
    for suffix in COMPRESSIONS:
        bare = bare.removesuffix(suffix)
    for kind, suffixes in SUFFIXES.items():
        if bare.endswith(suffixes) and (kind != "parquet" or bare == name):
            return kind
    return "arc" if bare.endswith(".arc") else None
