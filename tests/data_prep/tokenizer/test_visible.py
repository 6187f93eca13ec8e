"""Pieces as people read them."""

import pytest

from data_prep.tokenizer.visible import visible


@pytest.mark.parametrize(
    ("piece", "shown"),
    [
        ("▁word", "·word"),
        ("\n", "⏎"),
        ("<0x09>", "⇥"),
        ("<0xE3>", r"\xE3"),
        ("é\xa0\t\tж", r"é\xa0⇥⇥ж"),  # only what cannot be seen is spelled
        ("\u200b人", r"\u200b人"),
    ],
)
def test_what_cannot_be_seen_is_made_visible(piece: str, shown: str) -> None:
    assert visible(piece) == shown
