"""The loader's order: complete, cursor by cursor, indifferent to ranks, interruptions and changes of weights."""

from __future__ import annotations

import json
from collections import Counter
from itertools import chain, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import ConfigError, InputError
from pipelines.tokens import Component, MixtureLoader, TokenSource, document_key, is_held_out
from tests.token_shards import write_token_shards

DOCUMENTS = {"web": [[5, 1, 9], [3], [], [14, 2, 2, 7]], "code": [[20, 4]], "math": [[1, 1, 1, 1, 6]]}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("tokens")
    return {name: write_token_shards(root / name, shards, source=name) for name, shards in DOCUMENTS.items()}


def sources(folders, **options):
    return {name: TokenSource(folder, **options) for name, folder in folders.items()}


def components(folders, weights, **options):
    opened = sources(folders, **options)
    return [Component(name=name, source=opened[name], weight=weight) for name, weight in weights.items()]


WEIGHTS = {"web": 0.5, "code": 0.3, "math": 0.2}
weights = st.fixed_dictionaries({name: st.floats(0.01, 100) for name in DOCUMENTS})
lengths = st.integers(1, 40)


def whole(source):
    return np.concatenate([source.document(i) for i in range(source.num_documents)])


@settings(max_examples=60, deadline=None)
@given(weights=weights, length=lengths, steps=st.integers(1, 60), seed=st.none() | st.integers(0, 9))
def test_each_source_is_read_on_and_on_in_its_own_order(folders, weights, length, steps, seed):
    """Every sequence of a source starts at the token where its last one ended, over all epochs."""
    loader = MixtureLoader(components(folders, weights), sequence_length=length, seed=seed)
    read, starts = {name: [] for name in weights}, {}
    for packed in (loader.next_sequence() for _ in range(steps)):
        name = loader.components[packed.component].name
        assert packed.tokens.shape == (length + 1,)
        if not read[name]:
            starts[name] = packed.spans[0].document
        else:
            assert packed.inputs[0] == read[name][-1]
            read[name].pop()
        read[name].extend(packed.tokens.tolist())
    for component in loader.components:
        stream = whole(component.source).tolist()
        first = sum(component.source.document(i).size for i in range(starts.get(component.name, 0)))
        wanted = [stream[(first + i) % len(stream)] for i in range(len(read[component.name]))]
        assert read[component.name] == wanted


@settings(max_examples=60, deadline=None)
@given(weights=weights, steps=st.integers(1, 300))
def test_no_source_strays_far_from_its_weight(folders, weights, steps):
    """The largest deficit is served: after n sequences each source is within the number of sources of weight x n."""
    loader = MixtureLoader(components(folders, weights), sequence_length=8)
    seen = Counter(loader.next_sequence().component for _ in range(steps))
    total = sum(weights.values())
    for position, weight in enumerate(weights.values()):
        assert abs(seen[position] - weight / total * steps) < len(weights)


def test_the_largest_deficit_is_served(folders):
    """Textbook: weights 1/2, 1/4, 1/4.

    Deficits are 1/2, 1/4, 1/4 at first: a. Then 0, 1/2, 1/2: b, the first listed. Then 1/2, -1/4, 3/4: c. Then 1, 0, 0:
    a, and all are at zero again.
    """
    loader = MixtureLoader(components(folders, {"web": 2, "code": 1, "math": 1}), sequence_length=3)
    assert [loader.next_sequence().component for _ in range(8)] == [0, 1, 2, 0, 0, 1, 2, 0]


@settings(max_examples=30, deadline=None)
@given(length=lengths, ranks=st.sampled_from([1, 2, 4, 8, 16, 32, 64]), seed=st.none() | st.integers(0, 3))
def test_the_same_sequences_on_any_number_of_ranks(folders, length, ranks, seed):
    batch, steps = 64, 2
    alone = MixtureLoader(components(folders, WEIGHTS), sequence_length=length, seed=seed)
    wanted = [p.tokens.tolist() for _ in range(steps) for p in alone.next_batch(batch)]
    loaders = [MixtureLoader(components(folders, WEIGHTS), sequence_length=length, seed=seed) for _ in range(ranks)]
    found = []
    for _ in range(steps):
        for rank, loader in enumerate(loaders):
            found.extend(p.tokens.tolist() for p in loader.next_batch(batch, rank=rank, num_ranks=ranks))
    assert found == wanted
    assert all(loader.state() == alone.state() for loader in loaders)


@settings(max_examples=40, deadline=None)
@given(
    length=lengths,
    before=st.integers(0, 40),
    after=st.integers(1, 20),
    change=st.integers(0, 40),
    seed=st.none() | st.integers(0, 3),
)
def test_a_resumed_run_goes_on_as_if_nothing_had_happened(folders, length, before, after, change, seed):
    loader = MixtureLoader(components(folders, WEIGHTS), sequence_length=length, seed=seed)
    for step in range(before):
        if step == change:
            loader.reweight({"web": 1, "code": 0, "math": 3})
        loader.next_sequence()
    state = json.loads(json.dumps(loader.state()))
    resumed = MixtureLoader.from_state(components(folders, WEIGHTS), state)
    for _ in range(after):
        ours, theirs = resumed.next_sequence(), loader.next_sequence()
        assert ours.tokens.tolist() == theirs.tokens.tolist()
        assert ours.spans == theirs.spans
    assert resumed.state() == loader.state()


def test_new_weights_change_no_sources_order(folders):
    """A source that is left out for a while goes on exactly where it stopped."""
    loader = MixtureLoader(components(folders, WEIGHTS), sequence_length=4)
    read = []
    for step in range(60):
        if step == 10:
            loader.reweight({"web": 0, "code": 1, "math": 1})
        if step == 30:
            loader.reweight({"web": 5, "code": 1, "math": 0})
        packed = loader.next_sequence()
        if packed.component == 0:
            read.append((step, packed))
    assert not [step for step, _ in read if 10 <= step < 30]
    assert all(a.tokens[-1] == b.tokens[0] for (_, a), (_, b) in pairwise(read))
    ordered = [span for _, packed in read for span in packed.spans]
    assert ordered[0].document == 0
    plain = MixtureLoader(components(folders, {"web": 1}), sequence_length=4)
    assert [p.tokens.tolist() for _, p in read] == [plain.next_sequence().tokens.tolist() for _ in read]


@settings(max_examples=40, deadline=None)
@given(length=lengths, steps=st.integers(1, 40), seed=st.none() | st.integers(0, 3))
def test_masks_positions_and_trace_agree_with_the_documents(folders, length, steps, seed):
    loader = MixtureLoader(components(folders, WEIGHTS), sequence_length=length, seed=seed)
    packed = [loader.next_sequence() for _ in range(steps)]
    opened = sources(folders)
    for p in packed:
        pieces = [opened[s.source].document(s.document)[s.start : s.stop] for s in p.spans]
        assert np.concatenate(pieces).tolist() == p.tokens.tolist()
        owner = [(number, offset) for number, piece in enumerate(pieces) for offset in range(piece.size)]
        assert p.seq_idx.tolist() == [number for number, _ in owner[:-1]]
        assert p.position_ids.tolist() == [offset for _, offset in owner[:-1]]
        assert p.loss_mask.tolist() == [a[0] == b[0] for a, b in pairwise(owner)]
        assert (p.seq_idx.dtype, p.position_ids.dtype, p.loss_mask.dtype) == (np.int32, np.int32, np.bool_)
        assert loader.trace(p.index) == p.spans


def test_trace_sees_past_changes_of_weights(folders):
    loader = MixtureLoader(components(folders, WEIGHTS), sequence_length=7)
    spans = []
    for step in range(40):
        if step in (0, 13, 29):
            loader.reweight({"web": 1 + step, "code": 2, "math": 1})
        spans.append(loader.next_sequence().spans)
    assert [loader.trace(i) for i in range(40)] == spans


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.9])
def test_held_out_documents_are_never_read(folders, share):
    """Held out and read are a partition by key; the view reads all of its documents in order."""
    for name, source in sources(folders, held_out=share).items():
        held, rest = source.documents(held_out=True), source.documents(held_out=False)
        assert sorted(held + rest) == [
            (i, size, size * 3) for i, size in enumerate(chain.from_iterable(DOCUMENTS[name]))
        ]
        for ordinal, *_ in held:
            shard, row = source.place(ordinal)
            assert document_key(name, f"{shard}/{row}") < share * 2**64
        if rest:
            tokens, spans = source.read(0, source.num_tokens)
            assert [span[0] for span in spans] == [ordinal for ordinal, *_ in rest]
            assert tokens.tolist() == np.concatenate([source.document(o) for o, *_ in rest]).tolist()


def test_epochs_are_counted(folders):
    loader = MixtureLoader(components(folders, {"math": 1}), sequence_length=5)
    for _ in range(6):
        loader.next_sequence()
    assert loader.epochs() == {"math": 3.0}


def test_held_out_share_has_bounds():
    with pytest.raises(ConfigError, match=r"held_out = 1\.0"):
        is_held_out(np.zeros(1, np.uint64), 1.0)


@pytest.mark.parametrize(
    ("weights", "options", "message"),
    [
        ({"web": -1.0}, {}, "component 'web': weight -1.0"),
        ({"web": float("nan")}, {}, "weight nan"),
        ({"web": 0.0}, {}, "give at least one above 0"),
        ({}, {}, "give at least one"),
        ({"web": 1.0}, {"sequence_length": 0}, "sequence_length = 0"),
    ],
)
def test_impossible_mixtures_are_refused(folders, weights, options, message):
    with pytest.raises(ConfigError, match=message):
        MixtureLoader(components(folders, weights), **({"sequence_length": 4} | options))


def test_weights_must_name_every_component(folders):
    loader = MixtureLoader(components(folders, WEIGHTS), sequence_length=4)
    with pytest.raises(ConfigError, match=r"weights name \['web'\]"):
        loader.reweight({"web": 1.0})
    with pytest.raises(ConfigError, match="multiple of the ranks"):
        loader.next_batch(5, num_ranks=2)


def test_other_tokenizers_do_not_mix(folders, tmp_path):
    other = TokenSource(write_token_shards(tmp_path, [[3]], source="x", tokenizer="another"))
    web = TokenSource(folders["web"])
    with pytest.raises(ConfigError, match="different tokenizers"):
        MixtureLoader(
            [Component(name="a", source=web, weight=1), Component(name="b", source=other, weight=1)], sequence_length=2
        )


def test_a_state_over_other_sources_is_refused(folders, tmp_path):
    state = MixtureLoader(components(folders, {"web": 1}), sequence_length=4).state()
    other = TokenSource(write_token_shards(tmp_path, [[3]], source="web"))
    with pytest.raises(InputError, match="the state was taken over"):
        MixtureLoader.from_state([Component(name="web", source=other, weight=1)], state)
    with pytest.raises(InputError, match="loader state of format 9"):
        MixtureLoader.from_state(components(folders, {"web": 1}), state | {"format": 9})


def test_an_empty_source_is_refused_only_where_it_has_weight(folders, tmp_path):
    empty = TokenSource(write_token_shards(tmp_path, [[]], source="empty"))
    web = TokenSource(folders["web"])
    with pytest.raises(InputError, match="has no tokens"):
        MixtureLoader([Component(name="empty", source=empty, weight=1)], sequence_length=2)
    both = [Component(name="empty", source=empty, weight=0), Component(name="web", source=web, weight=1)]
    assert MixtureLoader(both, sequence_length=2).next_sequence().component == 1


def damaged(folder, path, content):
    (folder / path).write_bytes(content)
    return folder


def npy(array):
    from pipelines.tokens import npy_bytes

    return npy_bytes(array)


INDEX = "index.json"


@pytest.mark.parametrize(
    ("path", "content", "message"),
    [
        (INDEX, b"{", "not JSON"),
        (INDEX, b"[]", "token format 'list'"),
        (INDEX, b'{"format": 99}', "token format 99"),
        (INDEX, b'{"format": 1}', "without vocab_size"),
        ("tokens/s0.npy", b"", "not a readable .npy"),
        ("tokens/s0.npy", b"\x93NUMPY\x01\x00garbage" * 30, "not a readable .npy"),
        ("tokens/s0.npy", npy(np.zeros(8, np.float32)), "<f4 of 1 dimensions, expected <u2"),
        ("tokens/s0.npy", npy(np.zeros((4, 2), np.uint16)), "of 2 dimensions"),
        ("tokens/s0.npy", npy(np.zeros(7, np.uint16)), "documents of 7 tokens"),
        ("tokens/s0.npy", npy(np.full(8, 60_000, np.uint16)), "outside the vocabulary of 1000"),
        ("documents/s0.npy", npy(np.array([0, 5, 9])), "starts must rise from 0 to 8"),
        ("documents/s0.npy", npy(np.array([0, 0, 8])), "starts must rise"),
        ("documents/s0.npy", npy(np.array([0, 8])), "1 documents of 8 tokens"),
    ],
)
def test_damaged_files_are_named(tmp_path, path, content, message):
    folder = damaged(write_token_shards(tmp_path, [[5, 3]], source="web"), path, content)
    with pytest.raises(InputError, match=message) as raised:
        TokenSource(folder).read(0, 8)
    assert str(folder) in str(raised.value)


def test_pickles_are_never_loaded(tmp_path):
    folder = write_token_shards(tmp_path, [[5, 3]], source="web")
    np.save(folder / "tokens" / "s0.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(InputError, match="not a readable"):
        TokenSource(folder).read(0, 1)


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "a\\b"])
def test_shard_names_cannot_leave_the_folder(tmp_path, name):
    folder = write_token_shards(tmp_path, [[5, 3]], source="web")
    index = json.loads((folder / INDEX).read_text())
    index["shards"][0]["name"] = name
    (folder / INDEX).write_text(json.dumps(index))
    with pytest.raises(InputError, match="cannot be the name of a shard"):
        TokenSource(folder)


def test_verify_finds_a_flipped_bit(tmp_path):
    folder = write_token_shards(tmp_path, [[5, 3]], source="web")
    TokenSource(folder).verify()
    content = bytearray((folder / "tokens" / "s0.npy").read_bytes())
    content[-1] ^= 1
    (folder / "tokens" / "s0.npy").write_bytes(bytes(content))
    with pytest.raises(InputError, match="sha256"):
        TokenSource(folder).verify()


def test_ids_above_65535_take_32_bits(tmp_path):
    folder = write_token_shards(tmp_path, [[5, 3]], source="web", vocab_size=65_537, first_id=65_530)
    tokens, _ = TokenSource(folder).read(0, 8)
    assert tokens.max() == 65_536
