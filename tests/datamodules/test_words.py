# ruff: noqa: RUF001  # letters of many scripts, some of which look like others
import random
import unicodedata
import warnings
from pathlib import Path

import pytest
from gensim.test.utils import datapath
from gensim.utils import simple_preprocess

from datamodules.corpus import Corpus
from datamodules.text import NumberedText, choose_vocabulary, words_of_sentences
from datamodules.words import say_if_undivided, tokenise


def test_english_words_are_those_of_gensim():
    text = Path(datapath("lee_background.cor")).read_text(encoding="utf-8")
    assert tokenise(text, "simple") == simple_preprocess(text)
    odd = "Don't _stop_ new_york x2y m² 3rd U.S.A. É ÀÉ naïve Ωmega straße ﬁne a" + " a" * 3 + "b" * 15 + " " + "c" * 16
    assert tokenise(odd, "simple") == simple_preprocess(odd)


def test_letters_without_marks_are_gensims_in_every_script():
    """Of random characters of all planes, but marks, joiners and what NFC changes."""
    rng = random.Random(0)
    letters = [chr(rng.randrange(32, 0x20000)) for _ in range(20_000)]
    plain = [
        c
        for c in letters
        if unicodedata.category(c)[0] not in "MC"
        and unicodedata.category(c) != "Cs"
        and unicodedata.normalize("NFC", c.lower()) == c.lower()
        and not any(unicodedata.category(d)[0] == "M" for d in c.lower())
    ]
    text = "".join(c + rng.choice(["", "", "a", " "]) for c in plain)
    assert len(plain) > 5_000 and tokenise(text, "simple") == simple_preprocess(text)


@pytest.mark.parametrize(
    "text",
    [
        "हिन्दी विकिपीडिया में आपका स्वागत है",
        "தமிழ் மொழி உலகின் பழமையான மொழிகளில் ஒன்று",
        "اللُّغَةُ العَرَبِيَّةُ لغة جميلة",
        "بِسْمِ اللَّهِ الرَّحْمَٰنِ",
        "שָׁלוֹם עוֹלָם",
        "می\u200cخواهم کتاب\u200cها",
        "বাংলা ভাষা ক্ষত্রিয়",
        "ภาษา ไทย เป็น ที่",
        "មនុស្ស ទាំងអស់",
        "Tiếng Việt rất đẹp",
    ],
)
def test_words_are_whole_in_every_script(text):
    expected = unicodedata.normalize("NFC", text.lower()).split()
    for form in ("NFC", "NFD"):
        assert tokenise(unicodedata.normalize(form, text), "simple") == expected


def test_forms_of_a_letter_are_one_and_soft_hyphens_none():
    assert tokenise("café cafe\u0301 na\xadive", "simple") == ["café", "café", "naive"]
    assert tokenise("\u200cab\u200d \u0301 cd\u0323\u0307", "simple") == ["ab", "cḍ̇"]
    vowelled = "ا\u064e" * 15  # fifteen letters, as many marks
    assert tokenise(vowelled + " " + vowelled + "ا", "simple") == [vowelled]


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("ภาษาไทยเป็นภาษาที่สวยงาม วัตถุท้องฟ้า", "Thai"),
        ("我爱北京天安门，天安门上太阳升。", "Chinese or Japanese"),
        ("これは日本語の文章です。とても長い。", "Chinese or Japanese"),
        ("ພາສາລາວເປັນພາສາທາງການຂອງປະເທດລາວ", "Lao"),
        ("ភាសាខ្មែរគឺជាភាសាផ្លូវការរបស់ប្រទេសកម្ពុជា", "Khmer"),
        ("မြန်မာဘာသာစကားသည်မြန်မာနိုင်ငံ၏ရုံးသုံးဘာသာစကားဖြစ်သည်", "Burmese"),
    ],
)
def test_scripts_without_blanks_are_said(text, script):
    with pytest.warns(UserWarning, match=f"it: {script} text without blanks.*`data\\.tokeniser` whitespace"):
        assert say_if_undivided(text, "it")


def test_divided_text_and_other_scripts_are_not_told_so(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for text in ("我 爱 北京 天安门", "ภาษา ไทย เป็น ภาษา ที่ สวยงาม", "plain", "größer", "हिन्दी में", "the word 北京"):
            assert not say_if_undivided(text, "it")
    for i in range(3):
        (tmp_path / f"{i}.txt").write_text("我爱北京天安门，天安门上太阳升。 我爱 北京\n" * 5, encoding="utf-8")
    with pytest.warns(UserWarning, match="without blanks") as said:
        Corpus(str(tmp_path), min_count=1).setup()
    assert sum("without blanks" in str(warning.message) for warning in said) == 1


def test_sentences_of_other_things():
    assert list(words_of_sentences([["a", "", "b", "\0"]], "simple")) == [["a", "b", "\0"]]
    with pytest.raises(ValueError, match="a sentence is a list of words or a string; got 3"):
        list(words_of_sentences([3], "simple"))
    with pytest.raises(ValueError, match=r"the text is empty.*`data\.tokeniser` simple takes runs of 2 to 15 letters"):
        choose_vocabulary(NumberedText([]), 1, None)
