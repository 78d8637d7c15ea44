"""Mixtures: the file, the arithmetic, the record, and what is refused."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mixtures
from mixtures.apportioning import Available, apportion, memorization_window_tokens, repetition_warnings
from mixtures.mix import Mix
from mixtures.mixture import Mixture, MixtureComponent, parse_mixture, read_mixture
from mixtures.tree import render_tree, short_count
from pipelines.artifact import Artifact, build
from pipelines.errors import ConfigError, InputError
from pipelines.tokens import Component, MixtureLoader, TokenSource
from tests.documents import documents
from tokenizer_training.tokenize import Tokenize
from tokenizer_training.train import TrainTokenizer

GIGA = 10**9
GOOD = """
format = 1
budget_tokens = 2_000
sequence_length = 16
held_out = 0.2
[[component]]
name = "web/english"
artifact = "web_tokens"
weight = 3
max_epochs = 50
[[component]]
name = "web/german"
artifact = "german_tokens"
weight = 1.0
"""


def mixture(*weights, **options):
    parts = [MixtureComponent(name=chr(97 + i), artifact=chr(97 + i), weight=w) for i, w in enumerate(weights)]
    caps = options.pop("caps", [None] * len(parts))
    parts = [
        MixtureComponent(name=p.name, artifact=p.name, weight=p.weight, max_epochs=cap)
        for p, cap in zip(parts, caps, strict=True)
    ]
    return Mixture(**({"budget_tokens": 1000, "sequence_length": 8} | options), components=tuple(parts))


def test_the_example_of_tii():
    """Weight 50%, epoch size D / p of 1.7 GT, so D = 0.85 GT: a run of 6 GT reads that source about 3.5 times."""
    a, b = apportion(
        mixture(0.5, 0.5, budget_tokens=6 * GIGA),
        {"a": Available(tokens=850_000_000), "b": Available(tokens=20 * GIGA)},
    )
    assert a.epoch_size_tokens == 1_700_000_000
    assert a.epochs == pytest.approx(3.5, abs=0.05)
    assert (a.planned_tokens, b.planned_tokens) == (3 * GIGA, 3 * GIGA)


@pytest.mark.parametrize(
    ("unit", "shares"),
    [
        ("tokens", (1000 / 2, 1000 / 2)),
        ("bytes", (1000 * 0.25 / 0.75, 1000 * 0.5 / 0.75)),
        ("documents", (1000 * 10 / 110, 1000 * 100 / 110)),
        ("epochs", (1000 * 100 / 500, 1000 * 400 / 500)),
    ],
)
def test_what_equal_weights_mean(unit, shares):
    """a: 100 tokens, 10 documents, 400 bytes (10 tokens a document, 1/4 token a byte); b: 400, 4, 800 (100, 1/2)."""
    available = {
        "a": Available(tokens=100, documents=10, bytes=400),
        "b": Available(tokens=400, documents=4, bytes=800),
    }
    planned = apportion(mixture(1, 1, weight_unit=unit), available)
    assert [part.planned_tokens for part in planned] == pytest.approx(shares, abs=1)


@settings(max_examples=200, deadline=None)
@given(
    weights=st.lists(st.floats(0, 1e6).map(lambda x: round(x, 3)), min_size=1, max_size=6).filter(any),
    budget=st.integers(8, 10**13),
    data=st.data(),
)
def test_parts_sum_to_the_budget_and_respect_caps(weights, budget, data):
    sizes = data.draw(st.lists(st.integers(1, 10**12), min_size=len(weights), max_size=len(weights)))
    caps = data.draw(st.lists(st.none() | st.floats(0.01, 100), min_size=len(weights), max_size=len(weights)))
    wanted = mixture(*weights, caps=caps, budget_tokens=budget, over_max_epochs="redistribute")
    available = {chr(97 + i): Available(tokens=size) for i, size in enumerate(sizes)}
    live = [i for i, weight in enumerate(weights) if weight]
    room = None if any(caps[i] is None for i in live) else sum(Fraction(caps[i]) * sizes[i] for i in live)
    if room is not None and room < budget:
        with pytest.raises(ConfigError, match="every component is at its max_epochs"):
            apportion(wanted, available)
        return
    planned = apportion(wanted, available)
    assert sum(part.planned_tokens for part in planned) == budget
    for part, cap, size, weight in zip(planned, caps, sizes, weights, strict=True):
        assert part.planned_tokens <= (budget if cap is None else Fraction(cap) * size + 1)
        assert weight or not part.planned_tokens
        assert part.capped <= (cap is not None)


def test_excess_goes_to_the_others_by_their_weights():
    """a may give 100 of its planned 500; the 400 go to b and c as 3 to 1."""
    available = {name: Available(tokens=100) for name in "abc"}
    wanted = mixture(4, 3, 1, caps=[1, None, None], over_max_epochs="redistribute")
    planned = apportion(wanted, available)
    assert [part.planned_tokens for part in planned] == [100, 675, 225]
    assert [part.capped for part in planned] == [True, False, False]
    with pytest.raises(
        ConfigError, match=r"component 'a': 500 planned of 100 tokens are 5\.00 epochs, above max_epochs = 1"
    ):
        apportion(mixture(4, 3, 1, caps=[1, None, None]), available)


def test_repetition_is_judged_by_the_window():
    """Linear in parameters: 100 GT at 7B are 7.14 GT at 0.5B."""
    small = mixture(1, 1, budget_tokens=20 * GIGA, model_parameters=500_000_000)
    window = memorization_window_tokens(small)
    assert window == pytest.approx(7.14 * GIGA, rel=0.01)
    planned = apportion(small, {"a": Available(tokens=3 * GIGA), "b": Available(tokens=4 * GIGA)})
    found = repetition_warnings(planned, window)
    assert len(found) == 1
    assert "component 'a' repeats every 6,000,000,000 tokens (3.33 epochs)" in found[0]
    assert repetition_warnings(planned, None) == ()
    once = apportion(mixture(1, budget_tokens=1000), {"a": Available(tokens=1000)})
    assert repetition_warnings(once, GIGA) == ()


def test_a_weight_on_nothing_is_refused():
    with pytest.raises(ConfigError, match="component 'a': weight 1"):
        apportion(mixture(1), {"a": Available(tokens=0)})
    with pytest.raises(ConfigError, match="counts bytes"):
        apportion(mixture(1, weight_unit="bytes"), {"a": Available(tokens=5)})
    assert apportion(mixture(0, 1), {"a": Available(tokens=0), "b": Available(tokens=5)})[0].epochs == 0


def test_a_good_file():
    found = parse_mixture(GOOD, where="x.toml")
    assert found.components[0] == MixtureComponent(name="web/english", artifact="web_tokens", weight=3, max_epochs=50)
    assert (found.budget_tokens, found.weight_unit, found.held_out) == (2000, "tokens", 0.2)


@pytest.mark.parametrize("path", sorted(Path(mixtures.__file__).parent.glob("recipes/*.toml")), ids=lambda p: p.name)
def test_every_recipe_of_ours_is_good(path):
    assert read_mixture(path).components


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            "held_out",
            "held_uot",
            r"m\.toml: unknown key 'held_uot'; expected one of 'format', 'component', 'budget_tokens'",
        ),
        (
            "max_epochs",
            "max_epoch",
            r"m\.toml: component 1: unknown key 'max_epoch'; expected one of 'name', 'artifact', 'weight'",
        ),
        ("format = 1", "format = 2", r"m\.toml: format = 2"),
        ("format = 1", "", r"format = None"),
        ("2_000", '"2000"', r"budget_tokens = '2000' is no int"),
        ("2_000", "true", r"budget_tokens = True is no int"),
        ("2_000", "0", r"m\.toml: budget_tokens = 0: give at least 1"),
        ("2_000", "15", "less than one sequence"),
        ("budget_tokens = 2_000", "", r"m\.toml: without 'budget_tokens'"),
        ("weight = 3", "weight = -3", r"component 1: weight|component 'web/english': weight = -3"),
        ("weight = 3", "weight = nan", "weight = nan"),
        ("weight = 3", "", "without 'weight'"),
        ("max_epochs = 50", "max_epochs = 0", "max_epochs = 0"),
        ("0.2", "1.0", r"held_out = 1\.0"),
        ("web/german", "web/english", "name 'web/english' stands twice"),
        ("german_tokens", "web_tokens", "artifact 'web_tokens' stands twice"),
        ("[[component]]", "[component]", r"not TOML|write each as"),
        ("held_out", 'weight_unit = "words"\nheld_out', "weight_unit = 'words'; expected one of 'tokens', 'bytes'"),
        ("held_out", "components = 3\nheld_out", "unknown key 'components'"),
        ("web/english", "web//english", "single slashes"),
        ("format", "[", "not TOML"),
    ],
)
def test_what_a_file_may_not_say(before, after, message):
    assert before in GOOD
    with pytest.raises(ConfigError, match=message):
        parse_mixture(GOOD.replace(before, after), where="m.toml")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"none\.toml: cannot read the mixture"):
        read_mixture(tmp_path / "none.toml")


def token_artifacts(*names):
    texts = tuple(f"document {n} of the falcon, " * (n + 1) for n in range(12))
    corpora = [documents(name, texts[:8], texts[8:], (), language=name[:2]) for name in names]
    tokenizer = Artifact(
        name="tokenizer", maker=TrainTokenizer(vocab_size=400, num_reserved=32, latex=False), inputs=(corpora[0],)
    )
    return tuple(
        Artifact(name=f"{corpus.name}_tokens", maker=Tokenize(), inputs=(corpus, tokenizer)) for corpus in corpora
    )


def test_mixture_json_agrees_with_the_token_shards(tmp_path):
    inputs = token_artifacts("web", "german")
    artifact = Artifact(name="mixture", maker=Mix(mixture=parse_mixture(GOOD, where="m")), inputs=inputs)
    manifest = build(artifact, root=str(tmp_path))
    folder = tmp_path / "mixture" / manifest["fingerprint"][:12]
    record = json.loads((folder / "mixture.json").read_text())
    assert (record["format"], record["num_sequences"], record["sequence_length"]) == (1, 125, 16)
    opened = []
    for component in record["components"]:
        source = TokenSource(folder / component["directory"], held_out=record["held_out"])
        assert component["tokens"] == source.num_tokens
        assert component["held_out"]["documents"] == len(source.documents(held_out=True)) > 0
        assert component["documents"] + component["held_out"]["documents"] == 12
        assert component["bytes"] + component["held_out"]["bytes"] == source.num_bytes
        assert sum(entry["tokens"] for entry in component["languages"].values()) == component["tokens"]
        assert component["epochs"] == pytest.approx(component["planned_tokens"] / source.num_tokens)
        opened.append(Component(name=component["name"], source=source, weight=component["planned_tokens"]))
    assert [c["planned_tokens"] for c in record["components"]] == [1500, 500]
    assert list(record["components"][1]["languages"]) == ["ge"]
    loader = MixtureLoader(opened, sequence_length=16, seed=record["seed"])
    assert [loader.next_sequence().component for _ in range(8)].count(0) == 6
    assert manifest["notes"]["mixture"]["tree"] == render_tree(record)
    assert "├─ english (" in render_tree(record)


def test_components_and_inputs_must_match(tmp_path):
    one, two = token_artifacts("web", "german")
    wanted = Mix(mixture=parse_mixture(GOOD, where="m"))
    with pytest.raises(ConfigError, match=r"names the artifact 'german_tokens', the inputs are \['web_tokens'\]"):
        build(Artifact(name="mixture", maker=wanted, inputs=(one,)), root=str(tmp_path))
    alone = Mix(mixture=mixture(1.0))
    with pytest.raises(ConfigError, match="names the artifact 'a'"):
        build(Artifact(name="mixture", maker=alone, inputs=(two,)), root=str(tmp_path))
    single = MixtureComponent(name="web", artifact="web_tokens", weight=1)
    with pytest.raises(ConfigError, match="input 'german_tokens' is in no component"):
        build(
            Artifact(
                name="mixture", maker=Mix(mixture=Mixture(budget_tokens=5000, components=(single,))), inputs=(one, two)
            ),
            root=str(tmp_path),
        )


def test_documents_are_no_token_artifact(tmp_path):
    corpus = documents("a", ("text",))
    with pytest.raises(InputError, match=r"a: no index\.json"):
        build(Artifact(name="mixture", maker=Mix(mixture=mixture(1.0)), inputs=(corpus,)), root=str(tmp_path))


def test_the_tree_of_the_docstring():
    def part(name, fingerprint, planned, tokens):
        return {
            "name": name, "fingerprint": fingerprint * 4, "planned_tokens": planned, "tokens": tokens,
            "epochs": planned / tokens, "capped": False,
        }  # fmt: skip

    record = {
        "budget_tokens": 2_000_000, "num_sequences": 7812, "sequence_length": 256, "weight_unit": "tokens",
        "components": [
            part("web/english", "c65cde2f01ab", 1_000_000, 500_000),
            part("web/german", "77aa01bc33f0", 500_000, 1_000_000),
            part("code", "0f0f0f0f0f0f", 500_000, 500_000),
        ],
    }  # fmt: skip
    import mixtures.tree

    drawn = mixtures.tree.__doc__.split("```")[1].strip()
    assert render_tree(record) == drawn


@pytest.mark.parametrize(("number", "text"), [(999, "999"), (1000, "1.0K"), (1_550_000, "1.6M"), (3 * 10**12, "3.0T")])
def test_short_counts(number, text):
    assert short_count(number) == text
