"""What samples.jsonl says of held-out sequences, for views of every kind."""

from pathlib import Path

import numpy as np

from data_prep.tokenizer import Tokenizer
from pipeline.batch import IGNORED_LABEL, MicroBatch
from pipeline.training.reports.samples import MOST_TOKENS, sample_record
from tests.pipeline.conftest import make_view

NONE = IGNORED_LABEL


def test_a_decoder_that_reads_its_own_labels_is_not_shown_and_sentinels_are_numbers(dataset: Path) -> None:
    tokenizer = Tokenizer.load(dataset / "tokenizer")
    first, *text = tokenizer.special.sentinels[0], 300, 301, 302
    encoder = make_view([[first, text[0]]])
    decoder = make_view([[0, first, text[1]]], num_rows=5, labels=[[first, text[1], tokenizer.special.eos]])
    predictions = np.array([first, text[2], tokenizer.vocab_size + 1, 0, 0])
    record = sample_record(
        7, MicroBatch({"encoder": encoder, "decoder": decoder}, np.arange(1)), predictions, tokenizer
    )
    [sample] = record["samples"]
    assert record["step"] == 7
    assert sample["reads"].keys() == {"encoder"}
    assert sample["reads"]["encoder"][0] == "⟨0⟩"
    assert [place["label"] for place in sample["asked"]][::2] == ["⟨0⟩", "</s>"]
    assert [place["predicted"] for place in sample["asked"]][::2] == ["⟨0⟩", "⟨?⟩"]
    assert all(place["label"] != place["predicted"] for place in sample["asked"][1:])


def test_in_place_only_the_labelled_places_are_asked_and_no_token_is_none(dataset: Path) -> None:
    tokenizer = Tokenizer.load(dataset / "tokenizer")
    view = make_view([[300, 301, 302]], labels=[[NONE, 303, 304]])
    record = sample_record(1, MicroBatch({"encoder": view}, np.arange(1)), np.array([NONE, 301, NONE]), tokenizer)
    [sample] = record["samples"]
    assert len(sample["reads"]["encoder"]) == 3
    read, predicted = ([place[key] for place in sample["asked"]] for key in ("read", "predicted"))
    assert (read, predicted) == (sample["reads"]["encoder"][1:], [read[0], None])


def test_the_sequences_with_most_labels_are_shown_in_their_order_and_cut(dataset: Path) -> None:
    tokenizer = Tokenizer.load(dataset / "tokenizer")
    lengths = [3, 200, 1, 5, 4]
    sequences = [[300 + n] * length for n, length in enumerate(lengths)]
    view = make_view(sequences, labels=sequences)
    record = sample_record(1, MicroBatch({"decoder": view}, np.arange(1)), np.asarray(view.tokens), tokenizer)
    assert [len(sample["asked"]) for sample in record["samples"]] == [MOST_TOKENS, 5, 4]
    unlabelled = MicroBatch({"encoder": make_view([[300]])}, np.arange(1))
    assert sample_record(1, unlabelled, np.zeros(1), tokenizer)["samples"] == []
