"""How many documents an artifact would keep if one it was built on judged by other bounds: an interval.

Let A be the artifact judged again, T the one asked, K what T keeps now. A loses the documents `gone` and gains `back`. On
the way from A to T lie makers of three kinds:

- *row-wise* (`Process`, `Decontaminate`): a verdict depends on the document alone. What came through before comes
  through again; a document that is new there may or may not.
- *one keeper* (`ExactDedup`): of each class of equal documents one is kept. A new document displaces at most one other; a
  class loses its place only with its last document.
- *any other* (near dedup, sampling to a budget, mixing): one document more or less may change the fate of many.

Then, for certain:

- lost: K and `gone` have `lost` documents in common, and none of these can be kept;
- at most: |K| - lost + |back| + returning, where `returning` counts documents that makers other than row-wise ones
  dropped and that are not `gone`; for *one keeper* never more than the keepers it may have lost;
- at least: |K| - lost, less those whose place another took before the last maker, which may judge the other otherwise; 0
  after any other maker whose input changes, since one new document may displace many. `at_least_usual` supposes that
  a document displaces at most one: usual in near dedup, but no stored figure can prove it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines import storage
from pipelines.cli.locate import Chain, Located
from pipelines.errors import ConfigError
from pipelines.makers.process import id_hash

ROW_WISE = frozenset({"Process", "Decontaminate"})
ONE_KEEPER = frozenset({"ExactDedup"})


def interval(chain: Chain, judged: Located, asked: Located, *, gone: np.ndarray, back: np.ndarray) -> dict[str, Any]:
    """Bounds on the documents `asked` would keep. `gone` and `back` are sorted uint64 hashes of source and id at `judged`.

    Raises ConfigError where `asked` does not store documents.
    """
    kept_now = int(asked.manifest["counts"].get("kept", -1))
    if kept_now < 0 or not asked.parts("kept") or "id" not in storage.read_schema(asked.parts("kept")[0].uri).names:
        raise ConfigError(
            f"{asked.label} does not store documents (made by {asked.maker}); ask {judged.directory}, where the answer is exact"
        )
    lost = _common(asked, "kept", gone)
    because = [
        f"{gone.size:,} documents go and {back.size:,} come back in {judged.label}; {lost:,} of those that go are kept here now"
    ]
    flow = _Flow(new=int(back.size))
    for item, row_wise in _between(chain, judged):
        because.append(_through(item, row_wise, flow, gone))
    floor = kept_now - lost
    usual = max(floor - flow.swapped, 0)
    return {
        "kept_now": kept_now,
        "lost": lost,
        "at_least": 0 if flow.unbounded else usual,
        "at_least_usual": usual,
        "at_most": floor + flow.new,
        "because": because,
    }


@dataclass(kw_only=True)
class _Flow:
    """What may differ in the documents that leave a maker: `new` ones at most, others whose place was taken at most.

    `swapped` leaves out places taken in the last maker itself, since there one document takes the place of one.
    """

    new: int
    displaced: int = 0
    swapped: int = 0
    unbounded: bool = False


def _through(item: Located, row_wise: bool, flow: _Flow, gone: np.ndarray) -> str:
    """Take `flow` through one maker; returns the line that says why."""
    flow.swapped = flow.displaced
    if row_wise:
        return f"{item.label} ({item.maker}) judges each document alone: what is new there may be kept or dropped"
    dropped_now = sum(item.manifest["counts"].get("dropped", {}).values())
    leaving, gone_already = _common(item, "kept", gone), _common(item, "dropped", gone)
    one_keeper = item.maker in ONE_KEEPER and not flow.unbounded
    if one_keeper:
        returning = min(dropped_now - gone_already, leaving + flow.displaced)
    else:
        changes = flow.unbounded or flow.new + flow.displaced + leaving + gone_already > 0
        flow.unbounded = changes
        returning = dropped_now - gone_already if changes else 0
    flow.new += returning
    flow.displaced += flow.new
    if one_keeper:
        return f"{item.label} ({item.maker}) keeps one of equal documents: {returning:,} may return for keepers that go"
    return f"{item.label} ({item.maker}) compares documents: up to {returning:,} it dropped may return, each may displace others"


def _between(chain: Chain, judged: Located) -> list[tuple[Located, bool]]:
    """Artifacts on any way from `judged` to the artifact asked, which is the last, ancestors first; and whether each is row-wise.

    A row-wise maker is so in its first input only: of another one, such as a benchmark, every document counts.
    """
    reached = {judged.built.fingerprint}
    route = []
    for item in chain.artifacts:
        from_judged = [i for i, described in enumerate(item.manifest["inputs"]) if described["fingerprint"] in reached]
        if from_judged:
            reached.add(item.built.fingerprint)
            route.append((item, item.maker in ROW_WISE and from_judged == [0]))
    return route


def _common(located: Located, kind: str, hashes: np.ndarray) -> int:
    """How many documents of `kind` are among `hashes` (sorted)."""
    if not hashes.size:
        return 0
    number = 0
    for part in located.parts(kind):
        for batch in storage.read_batches(part.uri, ["source", "id"]):
            pairs = zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True)
            found = np.fromiter((id_hash(source, document) for source, document in pairs), np.uint64, batch.num_rows)
            number += int(np.isin(found, hashes, assume_unique=False).sum())
    return number
