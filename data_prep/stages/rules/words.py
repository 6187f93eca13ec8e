"""What rules take for words: runs without white space; in scripts written without spaces, every character.

The scripts are Chinese and Japanese characters, Thai, Lao, Burmese and Khmer (Korean is written with spaces).
"""

import re

_UNSEGMENTED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_CHARACTER = re.compile(f"[{_UNSEGMENTED}]")
_WORD = re.compile(rf"[{_UNSEGMENTED}]|[^\s{_UNSEGMENTED}]+")


def split_words(text: str) -> list[str]:
    """The words of a text, in order."""
    if text.isascii() or not _CHARACTER.search(text):
        return text.split()
    return _WORD.findall(text)


def has_spaced_words(words: list[str]) -> bool:
    """Whether nearly all of a text is written with spaces, so that lengths and runs of words mean something."""
    characters = sum(1 for word in words if len(word) == 1 and _CHARACTER.match(word))
    return 5 * characters <= len(words)
