"""The data card of a dataset, `card.html`: what is in it and how it came about, for people. See `page`."""

from data_prep.card.page import data_card

__all__ = ["data_card"]
