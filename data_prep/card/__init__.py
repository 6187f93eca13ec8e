"""The data card of a dataset, `card.html`: what is in it and how it came about, for people. See `page`."""

from data_prep.card.page import CardSample, data_card, take_sample

__all__ = ["CardSample", "data_card", "take_sample"]
