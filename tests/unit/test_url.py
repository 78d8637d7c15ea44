"""What a URL is blamed for: hosts with their subdomains, whole words, counts, and nothing for a missing URL."""

from __future__ import annotations

import hashlib
import os
from importlib import resources

import pyarrow as pa
import pytest

from filters.url import UrlFilter, packaged_lists, split_url
from pipelines.errors import ConfigError
from pipelines.fingerprint import File
from pipelines.rules import judge


def documents(*urls: str | None) -> pa.RecordBatch:
    ids = pa.array([str(number) for number in range(len(urls))], pa.string())
    return pa.RecordBatch.from_pydict({"id": ids, "url": pa.array(urls, pa.string())})


def measured(url: str | None, stage: UrlFilter) -> tuple[bool, int, int]:
    signals = stage.measure(documents(url), pa.RecordBatch.from_pydict({}))
    return tuple(column[0].as_py() for column in signals.columns)


def reasons(url: str | None, stage: UrlFilter) -> list[str]:
    batch = documents(url)
    signals = stage.measure(batch, pa.RecordBatch.from_pydict({})).append_column("id", batch.column("id"))
    masks = judge(signals, stage.rules())
    return [rule.reason for rule, mask in zip(stage.rules(), masks, strict=True) if mask[0].as_py()]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://www.pornhub.com/", ["blocked_host"]),
        ("http://user:pw@EN.PornHub.COM.:8080/a?b#c", ["blocked_host"]),
        ("//xhamster.com/x", ["blocked_host"]),
        ("https://notpornhub.com/", []),
        ("https://pornhub.com.example.org/", []),
        ("https://example.org/?ref=pornhub.com", []),
        ("https://example.org/free-PORN/1", ["blocked_url_word"]),
        ("https://example.org/%70orn/1", ["blocked_url_word"]),
        ("https://xxx.example.org/", ["blocked_url_word"]),
        ("https://xn--j1adfnc.example/", []),
        ("https://example.org/порно", ["blocked_url_word"]),
        ("https://sussex.ac.uk/essex/middlesex-county", []),
        ("https://example.org/sexual-health", []),
        ("https://example.org/sex-education", []),
        ("https://example.org/hot-teens/casino", ["many_suspect_url_words"]),
        ("https://poker.example.org/casino", ["many_suspect_url_words"]),
        ("https://example.org/?q=casino+poker+sex", []),
        (None, []),
        ("", []),
        ("not a url at all", []),
        ("http://[2001:db8::1]:80/", []),
        ("https://" + "a" * 300 + ".example/", []),
    ],
)
def test_reasons(url, expected):
    assert reasons(url, UrlFilter()) == expected


def test_a_missing_url_measures_nothing_and_never_null():
    signals = UrlFilter().measure(documents(None, "https://example.org/porn", None), pa.RecordBatch.from_pydict({}))
    assert [column.null_count for column in signals.columns] == [0, 0, 0]
    assert signals.column("url_host_blocked").to_pylist() == [False, False, False]
    assert signals.column("num_blocked_url_words").to_pylist() == [0, 1, 0]
    assert UrlFilter().measure(documents(), pa.RecordBatch.from_pydict({})).num_rows == 0


def test_bounds_are_fields_one_can_ask_about():
    assert reasons("https://example.org/porn", UrlFilter(max_blocked_url_words=1)) == []
    assert reasons("https://example.org/casino", UrlFilter(max_suspect_url_words=0)) == ["many_suspect_url_words"]
    fields = {rule.field for rule in UrlFilter().rules() if rule.field}
    assert all(hasattr(UrlFilter(), field) for field in fields)


def test_published_lists_are_added_or_stand_alone(tmp_path):
    hosts, words = tmp_path / "domains", tmp_path / "words"
    hosts.write_text("# UT1\nbad.example\n*.wild.example\n0.0.0.0 hosts.example\nBÜCHER.example.\n\n", encoding="utf-8")
    words.write_text("Grue\n", encoding="utf-8")
    stage = UrlFilter(hosts_file=File(str(hosts)), words_file=File(str(words)))
    for host in (
        "bad.example",
        "sub.bad.example",
        "a.wild.example",
        "hosts.example",
        "xn--bcher-kva.example",
        "bücher.example",
    ):
        assert reasons(f"https://{host}/", stage) == ["blocked_host"], host
    assert reasons("https://example.org/a-grue", stage) == ["blocked_url_word"]
    assert reasons("https://example.org/porn", stage) == ["blocked_url_word"]
    assert reasons("https://example.org/porn", UrlFilter(packaged=False, words_file=File(str(words)))) == []


def test_a_list_that_is_none_fails_on_the_driver(tmp_path):
    broken = tmp_path / "hosts"
    broken.write_text("one two three\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="one two three"):
        UrlFilter(hosts_file=File(str(broken)))
    binary = tmp_path / "binary"
    binary.write_bytes(b"ok\n\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8 at byte 3"):
        UrlFilter(words_file=File(str(binary)))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://Example.org:443/a/b;c?d#e", ("example.org", "/a/b;c")),
        ("ftp://u@h.example", ("h.example", "")),
        ("http://user:p@ss@h.example/x", ("h.example", "/x")),
        ("http://h.example\\@other.example/", ("h.example", "\\@other.example/")),
        ("mailto:ann@example.org", ("", "mailto:ann@example.org")),
        ("http://[::1]:8080/x", ("[::1]", "/x")),
        ("http:///x", ("", "/x")),
    ],
)
def test_split_url(url, expected):
    assert split_url(url) == expected


def test_the_packaged_list_is_what_the_version_says():
    """Raise UrlFilter.version with any change of the list, then this digest: outputs depend on it."""
    content = resources.files("filters").joinpath("url_words.toml").read_bytes()
    assert (UrlFilter.version, hashlib.sha256(content).hexdigest()) == (1, DIGEST)
    assert not packaged_lists().words & packaged_lists().suspect


DIGEST = "c325a7e4dddeff57309af0225204d3006176d45e87e6d5e30a8ccee5195a442f"


def test_a_list_that_is_edited_is_read_again(tmp_path):
    hosts = tmp_path / "hosts"
    hosts.write_text("old.example\n", encoding="utf-8")
    stage = UrlFilter(hosts_file=File(str(hosts)))
    assert reasons("https://old.example/", stage) == ["blocked_host"]
    changed = hosts.stat().st_mtime_ns
    (tmp_path / "new").write_text("new.example\n", encoding="utf-8")
    (tmp_path / "new").replace(hosts)
    os.utime(hosts, ns=(changed, changed))  # same size, same time, another file
    assert reasons("https://old.example/", stage) == []
    assert reasons("https://new.example/", stage) == ["blocked_host"]
    hosts.write_text("own.example\n", encoding="utf-8")
    os.utime(hosts, ns=(changed + 1, changed + 1))
    assert reasons("https://own.example/", stage) == ["blocked_host"]
