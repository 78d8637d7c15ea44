"""The figures that redaction promises, on the shared development sets. How they are counted: `tests.parity.pii_gold`."""

from __future__ import annotations

import pytest

from filters.pii import EMAIL, IP, PHONE
from tests.parity.pii_gold import as_table, pooled, scores
from tests.shared import shared_path

TARGETS = {EMAIL: (0.98, 0.98), IP: (0.95, 0.98), PHONE: (0.90, 0.80)}  # kind: (precision, recall)


@pytest.mark.shared
def test_precision_and_recall_on_every_set(capsys):
    table = scores(shared_path("pii").parent)
    totals = [pooled(table, kind) for kind in TARGETS]
    with capsys.disabled():
        print("\n" + as_table([*table, *totals]))
    for score in [*table, *totals]:
        precision, recall = TARGETS[score.kind]
        if score.num_found:
            assert score.num_gold == 0 or score.precision >= precision, score
        if score.num_gold:
            assert score.recall >= recall, score
    for score in totals:
        assert score.precision >= TARGETS[score.kind][0], score
