"""Masking on a device, after the raw windows have arrived there: torch's integer operations and a little Triton.

1. text      the micro-batch's pieces as tensors; sentences in another order if asked for    (device_text.py, here)
2. bits      Philox, all purposes in one launch                                                (triton_units.py)
3. spans     by sorting, cumulative sums and two loops over units                              (device_select.py)
4. views     every token is written to its rows                                                (device_layout.py)

Everything is integer arithmetic, so the bits are the reference's. Nothing waits for the device.
"""

import dataclasses
from weakref import WeakKeyDictionary

import numpy as np
import torch

from pipeline.batch import Views
from pipeline.corruption.reorder import SENTENCES
from pipeline.corruption.sampling import Purpose
from pipeline.corruption.select_spans import GeometricSpans, PoissonSpans
from pipeline.corruption.select_tokens import rounded_share
from pipeline.corruption.select_units import NGrams, UnitRule
from pipeline.corruption.tables import log2_table
from pipeline.kernels.masking.device_layout import LAYOUTS, Corrupted, draws_replacements, replacements
from pipeline.kernels.masking.device_select import SELECTS, Bits, Tables, unit_starts
from pipeline.kernels.masking.device_text import Text, last_marked, order_by_key
from pipeline.kernels.masking.plan import MaskingPlan

__all__ = ["LAYOUTS", "REPLACES", "SELECTS", "mask"]

REPLACES = ("sentinel_per_span", "mask_per_span", "token_by_token", "dropped")


def mask(plan: MaskingPlan, text: Text) -> Views:
    """The views of the samples of `text`, on its device: the bits of reference.mask."""
    config, tables = plan.config, _tables(plan, text.tokens.device)
    choose, purposes = SELECTS[config.select.kind]
    drawn = (Purpose.REPLACE, Purpose.RANDOM_TOKEN) if draws_replacements(config.replace) else ()
    bits = Bits(plan.key, text, [*purposes, *drawn, *((Purpose.ORDER,) if plan.reorders else ())])
    original = text.tokens
    if plan.reorders:
        text = _reordered(text, bits)
    spans = choose(config.select, text, bits, tables)
    replaced = replacements(plan, text.tokens, bits, tables)
    given = Corrupted(plan, text, spans, replaced, original)
    return LAYOUTS[config.layout.kind](given, config.layout, plan.max_rows)


def _reordered(text: Text, bits: Bits) -> Text:
    """The sentences of every piece by (bits of the first token, index); columns go with their tokens."""
    first_tokens = last_marked(unit_starts(text, SENTENCES))
    order = order_by_key(bits[Purpose.ORDER][first_tokens], text.piece)
    columns = {name: values[order] for name, values in text.columns.items()}
    return dataclasses.replace(text, tokens=text.tokens[order], columns=columns)


_made: WeakKeyDictionary[MaskingPlan, dict[torch.device, Tables]] = WeakKeyDictionary()


def _tables(plan: MaskingPlan, device: torch.device) -> Tables:
    """The plan's tables, sent once."""
    by_device = _made.setdefault(plan, {})
    if device not in by_device:
        by_device[device] = _new_tables(plan, device)
    return by_device[device]


def _new_tables(plan: MaskingPlan, device: torch.device) -> Tables:
    select, none = plan.config.select, np.zeros(1, np.int64)
    counts = np.arange(len(plan.budget.most_tokens))
    values = {
        "num_selected": plan.budget.most_tokens,
        "most_spans": plan.budget.most_spans,
        "share_of_units": rounded_share(counts, select.rate) if isinstance(select, UnitRule) else none,
        "lengths": select.table if isinstance(select, PoissonSpans | GeometricSpans | NGrams) else none,
        "log2": log2_table(),
        "ordinary": plan.ordinary,
        "similar": plan.similar,
    }
    return Tables(**{name: torch.tensor(each, dtype=torch.int64, device=device) for name, each in values.items()})
