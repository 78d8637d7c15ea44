"""For tests of dedup: makers run on small parts in a temporary folder, text in several scripts, a shingle oracle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import regex

from pipelines.artifact import Built
from pipelines.executors import Executor
from pipelines.executors.local import Local
from pipelines.kernels.generate_case_folding import fold
from pipelines.passes import Passes
from pipelines.schema import DOCUMENT

Row = Mapping[str, Any]


def row(document: str, text: str, source: str = "s", **attributes: Any) -> dict[str, Any]:
    return {"id": document, "source": source, "text": text, "locator": f"file:{document}:0", **attributes}


def write_input(
    folder: Path, parts: Sequence[Sequence[Row]], extra: Sequence[pa.Field] = (), name: str = "input"
) -> Built:
    """A finished artifact whose kept files are `parts`, with the columns `extra` after the core ones."""
    schema = pa.schema([*DOCUMENT, *extra])
    entries = []
    for number, rows in enumerate(parts):
        shard = f"part-{number:03d}"
        path = folder / name / "kept" / f"{shard}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist([dict(r) for r in rows], schema=schema), path)
        entries.append({"path": f"kept/{shard}.parquet", "shard": shard, "rows": len(rows)})
    return Built(name=name, fingerprint="0" * 64, uri=str(folder / name), manifest={"files": entries})


class Result:
    """What a maker wrote: rows by kind, in order of part, and the sum of what it noted."""

    def __init__(self, directory: Path, passes: Passes) -> None:
        self.directory = directory
        self.passes = passes

    def rows(self, kind: str) -> list[dict[str, Any]]:
        return [
            r for path in sorted((self.directory / kind).glob("*.parquet")) for r in pq.read_table(path).to_pylist()
        ]

    def kept(self) -> set[tuple[str, str]]:
        return {(r["source"], r["id"]) for r in self.rows("kept")}

    def keepers(self) -> dict[str, str]:
        """Id of each dropped document -> id of its keeper."""
        return {r["id"]: r["keeper_id"] for r in self.rows("dropped")}

    def files(self) -> dict[str, bytes]:
        """Content of every output file but logs and plans, by relative path."""
        inside = {p.relative_to(self.directory).as_posix(): p for p in self.directory.rglob("*") if p.is_file()}
        return {name: p.read_bytes() for name, p in inside.items() if not name.startswith(("work/", "log/"))}


def run_maker(maker: Any, folder: Path, *inputs: Built, executor: Executor | None = None) -> Result:
    directory = folder / "output"
    passes = Passes(artifact="output", directory=str(directory), executor=executor or Local())
    maker.make(inputs, passes)
    return Result(directory, passes)


# A few words a language; random sequences of them stand for text. Chinese and Japanese are written without spaces.
VOCABULARY = {
    "en": "river stone garden winter letter window bridge morning silver market forest candle harbour engine question",
    "ru": "река камень сад зима письмо окно мост утро серебро рынок лес свеча гавань двигатель вопрос",
    "ar": "نهر حجر حديقة شتاء رسالة نافذة جسر صباح فضة سوق غابة شمعة ميناء محرك سؤال",
    "hi": "नदी पत्थर बगीचा सर्दी पत्र खिड़की पुल सुबह चाँदी बाज़ार जंगल मोमबत्ती बंदरगाह इंजन प्रश्न",
    "ko": "강물 돌멩이 정원 겨울 편지 창문 다리 아침 은빛 시장 숲속 촛불 항구 엔진 질문",
    "zh": "河流 石头 花园 冬天 书信 窗户 桥梁 早晨 白银 市场 森林 蜡烛 港口 引擎 问题",
    "ja": "川の 石だ 庭と 冬が 手紙を 窓に 橋は 朝も 銀で ストーブ 森へ ろうそく 港から エンジン 質問か",
}
JOINED = ("zh", "ja")


def write_text(language: str, choices: Sequence[int]) -> str:
    """Words of `VOCABULARY[language]` by number, larger numbers as compounds of two words, in sentences of twelve."""
    words = VOCABULARY[language].split()
    chosen = [words[c % 15] if c < 15 else words[c % 15] + words[c // 15 % 15] for c in choices]
    space, stop = ("", "。") if language in JOINED else (" ", ". ")
    return stop.join(space.join(chosen[i : i + 12]) for i in range(0, len(chosen), 12))


# --- the oracle: Python strings, the `regex` module and tuples ---------------------------------------------------------

ALONE = (
    r"(?=[\p{L}\p{N}])[\p{Han}\p{Hiragana}\p{Katakana}\u30fc\uff70\uff9e\uff9f]"
    r"|(?=\p{L})[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf\u1b00-\u1b7f\ua980-\ua9ff\uaa60-\uaadf]"
)
WORD = regex.compile(
    rf"(?:{ALONE})\p{{M}}*|(?:(?!{ALONE})[\p{{L}}\p{{N}}\p{{M}}])(?:(?!{ALONE})[\p{{L}}\p{{N}}\p{{M}}])*"
)
IGNORED = regex.compile(r"[\u00ad\u200c\u200d\u2060\ufeff]")


def words(text: str) -> list[str]:
    return WORD.findall("".join(fold(c) for c in IGNORED.sub("", text)))


def shingles(text: str, size: int) -> list[tuple[str, ...]]:
    found = words(text)
    return [tuple(found[i : i + size]) for i in range(max(len(found) - size + 1, min(len(found), 1)))]


def similarity(left: frozenset[Any], right: frozenset[Any]) -> float:
    common = len(left & right)
    return common / (len(left) + len(right) - common) if left or right else 0.0


def shingle_set(text: str, size: int = 5) -> frozenset[tuple[str, ...]]:
    return frozenset(shingles(text, size))


def true_jaccard(left: str, right: str, size: int = 5) -> float:
    return similarity(shingle_set(left, size), shingle_set(right, size))
