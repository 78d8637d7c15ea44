"""Language, script and probability: of 18 languages, of hostile text, whatever the batch; and what the filter blames."""

from __future__ import annotations

import hashlib
import pickle
import shutil
from dataclasses import replace
from importlib import resources
from pathlib import Path

import fasttext
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.excerpts import cut_excerpts, script_names, script_table
from filters.fasttext_model import MAX_LINES, check_model, packaged_model, predict
from filters.language import IdentifyLanguage, KeepLanguages
from filters.language_codes import WIKIPEDIA, language_and_script, short_codes
from pipelines.errors import ConfigError, SignalError
from pipelines.fingerprint import File, canonical, fingerprint, identity
from pipelines.rules import judge
from pipelines.stage import Filter, run_stages
from tests.fasttext_files import SKIPGRAM, write_model

SENTENCES = {
    "ar": ("Arab", "تقع المكتبة القديمة في وسط المدينة، ويزورها كل يوم كثير من الطلاب والباحثين."),
    "cs": ("Latn", "Stará knihovna stojí uprostřed města a každý den ji navštěvuje mnoho studentů."),
    "de": ("Latn", "Die alte Bibliothek steht mitten in der Stadt und wird jeden Tag von vielen Studenten besucht."),
    "en": ("Latn", "The old library stands in the middle of the town and many students visit it every day."),
    "es": ("Latn", "La vieja biblioteca está en el centro de la ciudad y cada día la visitan muchos estudiantes."),
    "fr": (
        "Latn",
        "La vieille bibliothèque se trouve au milieu de la ville et beaucoup d'étudiants y viennent chaque jour.",
    ),
    "hi": ("Deva", "पुराना पुस्तकालय शहर के बीच में है और हर दिन बहुत से छात्र वहाँ आते हैं।"),
    "it": ("Latn", "La vecchia biblioteca si trova nel centro della città e ogni giorno la visitano molti studenti."),
    "ja": ("Jpan", "古い図書館は町の真ん中にあり、毎日たくさんの学生がそこを訪れます。"),
    "ko": ("Hang", "오래된 도서관은 도시 한가운데에 있고 매일 많은 학생들이 그곳을 찾아옵니다."),
    "nl": ("Latn", "De oude bibliotheek staat midden in de stad en wordt elke dag door veel studenten bezocht."),
    "pl": ("Latn", "Stara biblioteka stoi w środku miasta i codziennie odwiedza ją wielu studentów."),
    "pt": ("Latn", "A velha biblioteca fica no centro da cidade e todos os dias muitos estudantes a visitam."),
    "ro": ("Latn", "Biblioteca veche se află în mijlocul orașului și în fiecare zi o vizitează mulți studenți."),
    "ru": ("Cyrl", "Старая библиотека стоит в центре города, и каждый день её посещают многие студенты."),
    "sv": ("Latn", "Det gamla biblioteket ligger mitt i staden och varje dag kommer många studenter dit."),
    "ur": ("Arab", "پرانی لائبریری شہر کے بیچ میں واقع ہے اور ہر روز بہت سے طالب علم وہاں آتے ہیں۔"),
    "zh": ("Hani", "老图书馆坐落在城市的中心，每天都有许多学生前来阅读和学习。"),
}
NO_STATISTICS = pa.RecordBatch.from_pydict({})


def documents(*texts: str) -> pa.RecordBatch:
    ids = pa.array([str(number) for number in range(len(texts))], pa.string())
    source = pa.array(["test"] * len(texts), pa.string())
    return pa.RecordBatch.from_pydict({"id": ids, "source": source, "text": pa.array(texts, pa.large_string())})


def labelled(batch: pa.RecordBatch, stage: IdentifyLanguage | None = None) -> list[tuple]:
    added = (stage or IdentifyLanguage()).transform(batch)
    names = ("language", "language_script", "language_probability", "language_model")
    return list(zip(*(added.column(name).to_pylist() for name in names), strict=True))


@pytest.fixture(scope="module")
def own_model(tmp_path_factory) -> str:
    """A tiny model with GlotLID's kind of labels."""
    words = {"als_Latn": ("bukë", "ujë", "dhe"), "cmn_Hant": ("圖書", "學生", "讀書"), "ceb_Latn": ("ang", "mga", "sa")}
    return write_model(tmp_path_factory.mktemp("model") / "own.bin", words)


@pytest.mark.parametrize("language", SENTENCES)
def test_each_of_the_18_languages(language):
    script, text = SENTENCES[language]
    (found,) = labelled(documents(text))
    assert found[:2] == (language, script)
    assert 0.5 < found[2] <= 1
    assert found[3] == "lid.176.ftz:8f3472cfe873"


def test_columns_have_the_promised_types_and_the_text_is_untouched():
    batch = documents(*(text for _, text in SENTENCES.values()))
    added = IdentifyLanguage().transform(batch)
    assert [added.schema.field(field.name) for field in IdentifyLanguage.adds] == list(IdentifyLanguage.adds)
    assert added.select(batch.schema.names).equals(batch)
    probabilities = added.column("language_probability").to_pylist()
    assert all(abs(round(p, 4) - p) < 1e-7 for p in probabilities)
    judged, failed = run_stages((IdentifyLanguage(), KeepLanguages()), batch)
    assert not failed
    kept = [not reasons for reasons in judged.reasons.to_pylist()]
    assert [language for language, keep in zip(SENTENCES, kept, strict=True) if keep] == ["en"]


@pytest.mark.parametrize(
    "text",
    ["", " \n\t\r\n ", "\x00\x00", "1234 567,89 % 2024-01-01", "😀🎉👩‍👩‍👧", "……!!??", "\u200b\u200e\ufeff", "7" * 1_000_000,
     "𝐡𝐞𝐥𝐥𝐨 𝐰𝐨𝐫𝐥𝐝", "\u0301\u0301"],
)  # fmt: skip
def test_text_without_letters_has_no_language(text):
    assert labelled(documents(text))[0][:3] == ("und", "Zyyy", 0.0)


@pytest.mark.parametrize(
    ("text", "script"),
    [("a" * 1_000_000, "Latn"), ("漢" * 400_000, "Hani"), ("\x00a\x00", "Latn"), ("\U0001f600ß", "Latn"), ("\U000103a0", "Xpeo"),
     ("1" * 500_000 + "жизнь", "Cyrl"), ("__label__de __label__de", "Latn"), ("</s>", "Latn"), ("ÿþ" * 999, "Latn"),
     ("한국어 漢字", "Hang"), ("日本国憲法の", "Jpan"), ("一二三四五六七八九十の", "Hani"), ("Ελληνικά a", "Grek")],
)  # fmt: skip
def test_scripts_of_odd_texts(text, script):
    ((language, found, probability, _),) = labelled(documents(text))
    assert found == script
    assert 0 <= probability <= 1
    assert language == "und" or probability >= 0.5


def test_a_line_end_spelled_in_the_text_does_not_hide_the_rest():
    """fastText stops reading a line at the word `</s>` and ignores words that begin with `__label__`."""
    german = SENTENCES["de"][1]
    assert labelled(documents("the and of </s> " + german * 3))[0][0] == "de"
    assert labelled(documents("__label__" + SENTENCES["zh"][1]))[0][0] == "zh"


def test_the_middle_and_end_of_a_long_text_count():
    """A page of which only the head, menus say, is English."""
    menu = "Home | About | Contact | Sign in | Cookies | "
    text = menu * 10 + (SENTENCES["ru"][1] + " ") * 60
    assert labelled(documents(text), IdentifyLanguage(num_windows=1))[0][0] == "en"
    assert labelled(documents(text))[0][0] == "ru"


def test_uncertain_is_und_and_keeps_its_probability():
    (sure,) = labelled(documents("Ok"), IdentifyLanguage(min_probability=0))
    assert sure[0] != "und"
    assert 0 < sure[2] < 1
    assert labelled(documents("Ok"), IdentifyLanguage(min_probability=1))[0][:3] == ("und", "Latn", sure[2])
    # the bound itself is enough: probabilities have 4 digits
    at = round(sure[2], 4)
    assert labelled(documents("Ok"), IdentifyLanguage(min_probability=at))[0] == sure


TEXTS = st.lists(
    st.one_of(
        st.text(max_size=60),
        st.sampled_from([text for _, text in SENTENCES.values()]),
        st.tuples(st.sampled_from([text for _, text in SENTENCES.values()]), st.integers(1, 30)).map(
            lambda p: (p[0] + "\n") * p[1]
        ),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(TEXTS, st.integers(0, 12), st.randoms(use_true_random=False))
def test_rows_do_not_depend_on_their_batch(texts, cut, random):
    batch = documents(*texts)
    whole = labelled(batch)
    assert whole == [found for text in texts for found in labelled(documents(text))]
    cut = min(cut, len(texts))
    assert labelled(batch.slice(0, cut)) + labelled(batch.slice(cut)) == whole
    order = list(range(len(texts)))
    random.shuffle(order)
    assert labelled(documents(*(texts[i] for i in order))) == [whole[i] for i in order]


def excerpt_oracle(text: str, max_chars: int) -> str | None:
    """What one line is, in Python, for texts that fit: squeezed ASCII white space, fastText's two spellings opened."""
    text = text.replace("</s>", " /s>").replace("__label__", " _label__")
    squeezed = ""
    for character in text:
        blank = character in " \t\n\v\f\r\x00"
        if not blank:
            squeezed += character
        elif squeezed and squeezed[-1] != " ":
            squeezed += " "
    return squeezed + "\n" if len(squeezed) <= max_chars else None


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.text(st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from(" \n\t<_/sé漢字कа")), max_size=80)
    ),
    st.integers(1, 50),
    st.integers(1, 6),
)
def test_excerpts_are_short_lines_of_valid_utf8(texts, max_chars, num_windows):
    num_windows = min(num_windows, max_chars)
    lines, scripts = cut_excerpts(pa.array(texts, pa.large_string()), max_chars=max_chars, num_windows=num_windows)
    names, table = script_names(), script_table()
    for text, line, script in zip(texts, lines.to_pylist(), scripts, strict=True):
        decoded = line.decode("utf-8")
        assert decoded.endswith("\n")
        assert decoded.count("\n") == 1
        assert len(decoded) <= max_chars + num_windows + 1
        letters = {names[table[ord(c)]] for c in decoded if table[ord(c)]}
        assert (script == 0) == (not letters) == (not any(table[ord(c)] for c in text))
        assert names[script] in letters | {"Jpan", "Hani", "Zyyy"}
        expected = excerpt_oracle(text, max_chars)
        if expected is not None:
            assert decoded == expected or decoded == expected.removesuffix(" \n") + "\n"


def test_short_texts_are_answered_as_fasttext_answers_them():
    texts = [text for _, text in SENTENCES.values()] + ["two words\nthree", "x", "a\tb\x00c", '"13:35" Daarom']
    model = fasttext.FastText._FastText(packaged_model())
    labels, probabilities = model.predict([text.replace("\n", " ") for text in texts], k=1)
    found = labelled(documents(*texts), IdentifyLanguage(min_probability=0))
    assert [row[0] for row in found] == [language_and_script(name[0][9:])[0] for name in labels]
    expected = [round(min(float(p[0]), 1.0), 4) for p in probabilities]
    assert [row[2] for row in found] == pytest.approx(expected, abs=1e-6)


def test_empty_sliced_and_null_free_batches():
    assert labelled(documents()) == []
    assert IdentifyLanguage().transform(documents()).schema.names[-4:] == [
        field.name for field in IdentifyLanguage.adds
    ]
    batch = documents("x" * 5000, *(text for _, text in SENTENCES.values()), "y" * 5000)
    assert [row[0] for row in labelled(batch.slice(1, len(SENTENCES)))] == list(SENTENCES)
    many = documents(*([SENTENCES["de"][1], SENTENCES["en"][1]] * (MAX_LINES // 2 + 1)))
    assert [row[0] for row in labelled(many)] == ["de", "en"] * (MAX_LINES // 2 + 1)


def test_running_twice_replaces_the_columns():
    batch = documents(SENTENCES["fr"][1])
    once = IdentifyLanguage().transform(batch)
    assert IdentifyLanguage().transform(once).equals(once)


def test_pickle_carries_no_model():
    stage = IdentifyLanguage()
    labelled(documents("warm"), stage)
    content = pickle.dumps(stage)
    assert len(content) < 1000
    assert pickle.loads(content) == stage  # noqa: S301 - our own bytes


def test_the_fingerprint_is_of_the_models_content(tmp_path, own_model):
    copy = tmp_path / "copy.ftz"
    shutil.copy(packaged_model(), copy)
    default, copied = IdentifyLanguage(), IdentifyLanguage(model=File(str(copy)))
    assert fingerprint(default) == fingerprint(copied)
    assert labelled(documents("The end of it all"), default) == labelled(documents("The end of it all"), copied)
    assert str(tmp_path) not in canonical(identity(copied))
    assert fingerprint(IdentifyLanguage(model=File(own_model))) != fingerprint(default)
    assert "fasttext-numpy2-wheel" in canonical(identity(default))
    for change in ({"min_probability": 0.4}, {"max_chars": 399}, {"num_windows": 3}):
        assert fingerprint(replace(default, **change)) != fingerprint(default)


def test_a_model_of_ones_own_and_its_replacement(tmp_path, own_model):
    path = tmp_path / "model.bin"
    shutil.copy(own_model, path)
    stage = IdentifyLanguage(model=File(str(path)))
    rows = labelled(documents("bukë ujë dhe bukë", "圖書 學生 讀書", "ang mga sa ang"), stage)
    assert [row[:2] for row in rows] == [("sq", "Latn"), ("zh", "Hant"), ("ceb", "Latn")]
    assert all(row[3].startswith("fasttext:") and len(row[3]) == 21 for row in rows)
    shutil.copy(packaged_model(), path)
    assert labelled(documents(SENTENCES["de"][1]), stage)[0][0] == "de"


def test_under_the_threshold_the_script_is_that_of_the_letters(own_model):
    stage = IdentifyLanguage(model=File(own_model), min_probability=1)
    assert labelled(documents("圖書 學生 ang"), stage)[0][:2] == ("und", "Hani")


def test_models_that_are_none_fail_on_the_driver(tmp_path, own_model):
    with pytest.raises(ConfigError, match="pip install --no-deps no-such-package"):
        packaged_model("no_such_package")
    other = tmp_path / "other.bin"
    other.write_bytes(b"PK\x03\x04" * 20)
    with pytest.raises(ConfigError, match="not a fastText model"):
        IdentifyLanguage(model=File(str(other)))
    other.write_bytes(b"")
    with pytest.raises(ConfigError, match="not a fastText model"):
        check_model(str(other))
    write_model(other, {"en": ("some", "words")}, kind=SKIPGRAM)
    with pytest.raises(ConfigError, match="word vectors"):
        IdentifyLanguage(model=File(str(other)))


def test_a_classifier_of_something_else_is_refused(tmp_path):
    path = write_model(tmp_path / "mood.bin", {"positive": ("good",), "negative": ("bad",)})
    with pytest.raises(ConfigError, match="'positive' names no language"):
        IdentifyLanguage(model=File(path)).transform(documents("good"))


def test_a_line_without_known_words_has_no_language(own_model):
    stage = IdentifyLanguage(model=File(own_model), min_probability=0)
    assert labelled(documents("unbekannt"), stage)[0][:3] == ("und", "Latn", 0.0)


def test_a_model_that_answers_nan_sets_documents_aside_and_never_labels_them(tmp_path):
    path = write_model(tmp_path / "nan.bin", {"en": ("good",), "de": ("gut",)}, scale=float("nan"))
    judged, failed = run_stages((IdentifyLanguage(model=File(path)),), documents("good", "42 gut"))
    assert judged is None
    assert {row: stage for row, (stage, _) in failed.items()} == {0: "identify_language", 1: "identify_language"}


def test_an_incomplete_model_is_refused(tmp_path):
    path = tmp_path / "half.ftz"
    path.write_bytes(Path(packaged_model()).read_bytes()[:400_000])
    stage = IdentifyLanguage(model=File(str(path)))
    with pytest.raises(ConfigError, match="cannot load"):
        stage.transform(documents("good"))


def test_nothing_is_printed(capfd):
    predict(packaged_model(), pa.array([b"hello\n"], pa.large_binary()))
    labelled(documents("hello"))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "fields",
    [{"min_probability": 1.1}, {"min_probability": -0.1}, {"min_probability": float("nan")}, {"min_probability": True},
     {"max_chars": 0}, {"num_windows": 0}, {"max_chars": 3}, {"max_chars": 10**9}],
)  # fmt: skip
def test_fields_out_of_range(fields):
    with pytest.raises(ConfigError, match=next(iter(fields))):
        IdentifyLanguage(**fields)


def with_languages(*rows: tuple[str | None, float | None]) -> pa.RecordBatch:
    batch = documents(*("text" for _ in rows))
    batch = batch.append_column("language", pa.array([row[0] for row in rows], pa.string()))
    return batch.append_column("language_probability", pa.array([row[1] for row in rows], pa.float32()))


def reasons(stage: KeepLanguages, *rows: tuple[str | None, float | None]) -> list[list[str]]:
    batch = with_languages(*rows)
    signals = stage.measure(batch, NO_STATISTICS).append_column("id", batch.column("id"))
    masks = judge(signals, stage.rules(), stage="keep_languages")
    return [
        [rule.reason for rule, mask in zip(stage.rules(), masks, strict=True) if mask[row].as_py()]
        for row in range(len(rows))
    ]


def test_what_keep_languages_blames():
    rows = (("en", 0.99), ("en", 0.65), ("en", 0.6499), ("de", 0.99), ("und", 0.2), ("de", 0.65))
    assert reasons(KeepLanguages(), *rows) == [
        [], [], ["uncertain_language"], ["other_language"], ["other_language", "uncertain_language"], ["other_language"],
    ]  # fmt: skip
    assert reasons(KeepLanguages(languages=("de", "und"), min_probability=0.2), *rows)[3:] == [[], [], []]
    assert isinstance(KeepLanguages(), Filter)
    assert [rule.field for rule in KeepLanguages().rules()] == ["", "min_probability"]


@pytest.mark.parametrize("row", [(None, 0.9), ("en", None), ("en", float("nan"))])
def test_a_document_nobody_identified_is_an_error(row):
    with pytest.raises(SignalError, match="document '0'"):
        reasons(KeepLanguages(), row)


@pytest.mark.parametrize(
    ("languages", "message"),
    [((), "expected a tuple"), ("en", "expected a tuple"), (("eng",), "'en'"), (("cmn",), "'zh'"), (("EN",), "ISO 639"),
     (("english",), "ISO 639"), (("en_Latn",), "'en'"), (("als",), "'gsw'")],
)  # fmt: skip
def test_languages_are_named_as_the_column_names_them(languages, message):
    with pytest.raises(ConfigError, match=message):
        KeepLanguages(languages=languages)


@pytest.mark.parametrize(
    ("label", "expected"),
    [("en", ("en", "")), ("als", ("gsw", "")), ("als_Latn", ("sq", "Latn")), ("bh", ("bho", "")), ("sh", ("hbs", "")),
     ("no", ("no", "")), ("nob_Latn", ("nb", "Latn")), ("zho_Hant", ("zh", "Hant")), ("arb_Arab", ("ar", "Arab")),
     ("arz", ("arz", "")), ("twi_Latn", ("tw", "Latn")), ("iw", ("he", "")), ("ceb", ("ceb", "")), ("", ("und", "")),
     ("yue-Hant", ("yue", "Hant"))],
)  # fmt: skip
def test_codes(label, expected):
    assert language_and_script(label) == expected


def test_codes_are_settled():
    """Translating twice changes nothing, and ISO 639-1 has 183 languages."""
    codes = short_codes()
    assert all(codes.get(code, code) == code for code in (*codes.values(), *WIKIPEDIA.values()))
    assert len({code for code in codes.values() if len(code) == 2}) == 183
    for bad in ("positive", "EN", "e", "en_latn", "en_Latn_x", "1a"):
        with pytest.raises(ConfigError, match="names no language"):
            language_and_script(bad)


def test_the_script_table_is_what_the_version_says():
    """Raise IdentifyLanguage.version with any change of the table, then this digest: outputs depend on it."""
    content = resources.files("filters").joinpath("scripts.npz").read_bytes()
    assert (IdentifyLanguage.version, hashlib.sha256(content).hexdigest()) == (1, DIGEST)


DIGEST = "177709b1c4f56b9d93b52313548ff22c3b17105a3a9902abdfdb2609ded1b600"
