"""Health: spikes are found and name their documents, broken runs are called broken, sound ones are not."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_smoke.health import MAX_NAMED, MIN_HISTORY, Watch, health_of, mixture_fit, robust_z
from pipelines.tokens import Span

SPANS = (Span("web", 3, 0, 10), Span("web", 4, 0, 5), Span("web", 3, 10, 12))


def watch():
    return Watch(vocab_size=10, documents={"web": 6, "code": 2})


def judged(found, **changes):
    found.read(np.arange(9) % 5, "web", ())
    found.read(np.arange(9) % 5, "code", ())
    given = {"weights": {"web": 1.0, "code": 1.0}, "untrained_rows": 0, "before": 3.0, "after": 2.0}
    return health_of(found, **(given | changes))


def test_a_spike_names_the_documents_of_its_batch():
    found = watch()
    random = np.random.default_rng(0)
    for step in range(60):
        assert found.step(6 - 0.05 * step + random.normal(0, 0.02), 1.0 + random.normal(0, 0.05), SPANS[:1]) == ()
    (spike,) = found.step(9.0, 1.0, SPANS)
    assert (spike.step, spike.signal, spike.value) == (61, "loss", 9.0)
    assert spike.z > 8
    assert spike.documents == ({"source": "web", "document": 3}, {"source": "web", "document": 4})
    (second,) = found.step(3.0, 400.0, SPANS)
    assert second.signal == "gradient_norm"
    health = judged(found)
    assert health["healthy"]
    assert health["num_spikes"] == 2
    assert "first in step 61 (loss)" in health["remarks"][0]
    json.dumps(health, allow_nan=False)


@given(st.lists(st.floats(-5, 5), max_size=80), st.floats(-5, 5), st.floats(0.1, 100), st.floats(-50, 50))
@settings(max_examples=100)
def test_z_does_not_change_with_unit(values, value, scale, shift):
    """Scale and sign of a curve that moves more than its floor carry over; a short history judges nothing."""
    z = robust_z(value, values)
    assert math.isfinite(z)
    if len(values) < MIN_HISTORY:
        assert z == 0
    assert robust_z(value * scale, [each * scale for each in values]) == pytest.approx(z, rel=1e-6, abs=1e-6)
    if z > 0:
        assert robust_z(value + 1, values) > z


def test_a_flat_curve_and_one_bad_value_in_the_past_make_no_spikes():
    assert robust_z(1.001, [1.0] * 50) < 8
    history = [1.0 + 0.01 * (n % 5) for n in range(30)] + [math.nan, math.inf, 500.0]
    assert abs(robust_z(1.02, history)) < 3
    found = watch()
    norms = [1.0 + 0.001 * (step % 3) for step in range(60)]
    assert not any(found.step(3.0, norm, SPANS) for norm in [*norms, 1.3])


def test_non_finite_steps_and_no_learning_are_problems():
    found = watch()
    for loss, norm in ((3.0, 1.0), (math.nan, 1.0), (2.0, math.inf)):
        found.step(loss, norm, SPANS)
    health = judged(found)
    assert not health["healthy"]
    assert health["non_finite_steps"] == [2, 3]
    assert "first in step 2" in health["problems"][0]
    assert not judged(watch(), after=3.0)["healthy"]
    assert "not finite after training" in judged(watch(), after=math.nan)["problems"][0]


def test_dead_tokens_and_documents_read_again():
    found = watch()
    found.read(np.array([1, 2, 3, 1]), "web", (Span("web", 0, 0, 2), Span("web", 1, 0, 2)))
    found.read(np.array([1, 2, 3, 1]), "web", (Span("web", 0, 1, 4), Span("web", 5, 0, 1)))
    found.read(np.array([1, 2, 3, 1]), "web", (Span("web", 0, 0, 4),))
    health = health_of(found, weights={"web": 1.0, "code": 0.0}, untrained_rows=2, before=3.0, after=2.0)
    assert health["dead_tokens"] == {
        "never_seen": 7, "never_seen_share": 0.7, "first": [0, 4, 5, 6, 7, 8, 9], "untrained_rows": 2
    }  # fmt: skip
    # Document 5 only lends its first token as a target; document 0 begins twice.
    assert health["documents"] == {"begun": 3, "unique": 2, "unique_share": pytest.approx(2 / 3)}


def test_what_was_read_is_held_against_what_was_planned():
    assert mixture_fit({"a": 75, "b": 25}, {"a": 3.0, "b": 1.0})["chi_square"] == 0
    assert mixture_fit({"a": 50, "b": 50}, {"a": 3.0, "b": 1.0})["p"] < 1e-6
    assert mixture_fit({"a": 99, "b": 1}, {"a": 1.0, "b": 0.0})["p"] == 0
    assert mixture_fit({"a": 4, "b": 0}, {"a": 1.0, "b": 0.001})["p"] == 1
    found = watch()
    for _ in range(40):
        found.read(np.zeros(9, np.int64), "code", ())
    assert "not what was planned" in judged(found, weights={"web": 9.0, "code": 1.0})["problems"][0]


def test_a_record_stays_small_and_state_travels():
    found = watch()
    for step in range(400):
        found.step(1.0 if step % 40 else 50.0, 1.0, SPANS)
    bad = watch()
    bad.read(np.zeros(5, np.int64), "web", SPANS[:1])
    for step in range(24):
        bad.step(float(step % 3), 1.0, SPANS)
    bad.step(1e9, 1e9, SPANS)
    assert len(found.spikes) <= MAX_NAMED
    plain, arrays = bad.state()
    again = watch()
    again.restore(json.loads(json.dumps(plain)), arrays)
    assert judged(again) == judged(bad)
    assert again.step(1e12, 1.0, SPANS) == bad.step(1e12, 1.0, SPANS)
