"""Words of a text, in every script."""

import re
import sys
import unicodedata
import warnings
from functools import cache
from typing import Literal

Tokeniser = Literal["simple", "whitespace"]
_JOINERS = "\u200c\u200d"  # within words of Persian and of Indian scripts; invisible
_SOFT_HYPHEN = "\xad"  # where a word may be broken; invisible, and no part of it
_FEWEST, _MOST = 2, 15  # letters of a word, as in gensim
# Scripts without blanks between words, and how long such a stretch is on average where somebody has put them in.
_SCRIPTS = {
    "Chinese or Japanese": ("\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff", 4),
    "Thai": ("\u0e00-\u0e7f", 12),
    "Lao": ("\u0e80-\u0eff", 12),
    "Burmese": ("\u1000-\u109f", 12),
    "Khmer": ("\u1780-\u17ff", 12),
}
_LOOK = 20_000  # characters of a text by which that is judged


def tokenise(text: str, tokeniser: Tokeniser) -> list[str]:
    """A text's words.

    Args:
        text: Of any length.
        tokeniser: "simple" is gensim's ``simple_preprocess`` for all scripts: lower case, runs of 2 to 15 letters, in
            which combining marks belong to their letters (composed where Unicode can, NFC) and joiners to words;
            "whitespace" takes what is between blanks as it is.
    """
    if tokeniser == "whitespace":
        return text.split()
    text = unicodedata.normalize("NFC", text.lower()).replace(_SOFT_HYPHEN, "")
    words = (word.rstrip(_JOINERS) for word in _words().findall(text))
    return [word for word in words if len(word) >= _FEWEST and _letters(word) <= _MOST and word[0] != "_"]


def _letters(word: str) -> int:
    """Number of letters, without the marks on them."""
    if len(word) <= _MOST:
        return len(word)
    return sum(not unicodedata.category(character).startswith(("M", "C")) for character in word)


@cache
def _words() -> re.Pattern[str]:
    """Runs of letters with their marks; as in gensim ``_`` and digits of powers and fractions are letters, too."""
    marks = {i for i in range(sys.maxunicode + 1) if unicodedata.category(chr(i))[0] == "M"}
    starts = sorted(i for i in marks if i - 1 not in marks)
    ends = sorted(i for i in marks if i + 1 not in marks)
    within = "".join(f"{chr(a)}-{chr(b)}" for a, b in zip(starts, ends, strict=True)) + _JOINERS
    return re.compile(rf"[^\W\d]+(?:[{within}]+[^\W\d]*)*")


def say_if_undivided(text: str, origin: str) -> bool:
    """Warn of a text in a script that has no blanks between words, unless somebody has put them in.

    Args:
        text: Text, of which the beginning is looked at.
        origin: Name of it, for the message.

    Returns:
        Whether it was said.
    """
    text = text[:_LOOK]
    if text.isascii():
        return False
    letters = sum(map(str.isalpha, text))
    for script, (characters, longest) in _SCRIPTS.items():
        runs = re.findall(f"[{characters}]+", text)
        count = sum(map(len, runs))
        if count > 0.2 * letters and count > longest * len(runs):
            warnings.warn(
                f"{origin}: {script} text without blanks between words, so what is taken for words are whole phrases: "
                "divide it first (by jieba, MeCab, PyThaiNLP ...), with blanks between words, and read that with "
                "`data.tokeniser` whitespace",
                stacklevel=2,
            )
            return True
    return False
