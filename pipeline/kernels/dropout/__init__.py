"""Dropout without state: whether element (row, column) is dropped is a pure function of a key and the row's name.

A row is named by (position of its sample in the run, row within the sample's view), so it loses the same elements in
whatever micro-batch, on whatever rank it sits, and again when activation checkpointing runs the forward twice.
"""

from pipeline.kernels.dropout.reference import Dropout, dropout, keep_factors

__all__ = ["Dropout", "dropout", "keep_factors"]
