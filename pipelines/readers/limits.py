"""Deterministic limits of the readers, named with their defaults in one place.

Each yields a reason or bounds memory; none depends on time or on the machine. Those that users may change are fields of
the readers, with these values.
"""

from __future__ import annotations

MAX_RECORD_BYTES = 16 << 20
"""Content of one record, decoded. Common Crawl itself cuts at 1 MiB, since 2025 at 5 MiB."""

MAX_RATIO = 200
"""Bytes out for one byte in, beyond which compressed data counts as a bomb. gzip can reach 1,032; of 1,967 real pages,
each compressed by itself, the median was 4.3 and the largest 39.8."""

RATIO_FLOOR_BYTES = 1 << 20
"""Below this many bytes out no ratio is asked: a page of one megabyte of spaces harms nobody."""

MAX_HEADER_BYTES = 64 << 10
"""One block of WARC or HTTP headers."""

MAX_RECORDS_PER_SHARD = 2_000_000
"""WARC records in one shard: far above what 256 MB of pages hold, so that only made-up files reach it."""

MAX_ENCODINGS = 3
"""Codings named by one Content-Encoding."""

LOOKBACK_BYTES = MAX_RECORD_BYTES + (1 << 20)
"""How far before its range a reader starts, to find where records really start. See `pipelines.readers.warc`."""

MAX_REWINDS = 8
"""How often one compressed member is read again because a record in it lied about its length."""

ZSTD_WINDOW_BYTES = 128 << 20
"""The largest window of a zstd frame that is decoded: what `zstd --long` writes by default."""

ZSTD_DICTIONARY_BYTES = 8 << 20

MAX_LINE_BYTES = 32 << 20
"""One line of JSON: the largest record, escaped."""

MAX_JSON_DEPTH = 64
"""Nesting of objects and arrays within one line."""

BATCH_BYTES = 4 << 20
"""Content or text in one batch. A larger document stands alone."""

BATCH_ROWS = 1024

MAX_REPLACED_FRACTION = 0.02
"""Share of characters that may be replaced in decoding; see `pipelines.readers.charset`."""
