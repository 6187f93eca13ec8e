"""Combinations that cannot work are refused when the config is read, with the reason and what to do instead."""

import pytest

from data_prep.errors import InputError
from pipeline.config import load_config

# Recipe, overrides, what the message says.
REFUSED = [
    ("bart", ("corruption.layout={kind: in_place}",), "Use replace token_by_token"),
    ("prefix_lm", ("corruption.layout={kind: visible_only}",), "Use replace token_by_token"),
    ("ul2", ("stream.window=1024",), "part 3: .* can have 171 spans, but the tokenizer has 100 sentinels"),
    ("ul2", ("objective={kind: masked_lm}",), "architecture bert"),
    ("ul2", ("training.masking=device",), "a mixture is made in the loader only: use loader"),
    ("ul2", ("model.positions=bipe", "export.to=[]"), "bipe numbers sentences, which a mixture has not"),
    ("ul2", ("corruption.layout={kind: in_place, pairs: {kind: next}}",), "layout.pairs, which a mixture has no place"),
    ("bert_nsp", ("training.masking=device",), "pairs are made in the loader only"),
    ("bert_nsp", ("model.positions=bipe", "export.to=[]"), "bipe numbers sentences, which pairs move about"),
    ("bert_nsp", ("objective.asks=sentence_order",), "there are those of kind next: use pairs {kind: order}"),
    ("unixcoder", ("objective={kind: denoising}",), "gives no decoder view"),
    ("unixcoder", ("model=bart_base",), "model=bert_base"),
    ("bert", ("model.positions.kind=none",), "bag of words"),
    ("bert", ("model=small",), "bert_base"),
    ("bert_wwm", ("corruption.replace={kind: mask_per_span}",), "Use replace token_by_token"),
    ("rom", ("corruption.layout={kind: permuted}",), "Use select permutation_tail"),
    ("rts", ("corruption.replace.mask=0.8", "corruption.replace.random=0.1"), "a mask says so"),
    ("mpnet", ("corruption.layout={kind: in_place}",), "use layout permuted"),
    ("mpnet", ("model.randomized_positions=512", "export.to=[]"), "share a place"),
    ("macbert", ("corruption.layout.pairs=null",), "use pairs {kind: order}"),
    ("macbert", ("corruption.layout.ends=false",), "or leave pairs out"),
    ("electra", ("model=bert_base",), "electra_base"),
    ("t5_span", ("model=bert_base",), "model=small"),
    ("mae_lm", ("corruption.layout={kind: in_place}",), "in_place gives no decoder view"),
    ("mae_lm", ("corruption={layout: {kind: full_reconstruction}}",), "use layout visible_only"),
    ("3ml", ("model.randomized_positions=512",), "leave it out with objective masked_autoencoder"),
    ("3ml", ("model=small",), "bert_base"),
    ("retromae", ("corruption.layout.ends=false",), "use layout {kind: in_place, ends: true}"),
    ("retromae", ("corruption.second_draw=null",), "in_place gives no decoder view"),
    ("seed_encoder", ("objective.decoder={kind: masked}",), "use mask 1.0"),
    ("condenser", ("objective.early_layer=12",), "must be below model.num_layers"),
    ("condenser", ("corruption.layout.ends=false",), "use layout {kind: in_place, ends: true}"),
    ("condenser", ("objective.contrast.group=8",), "set stream.spans_per_piece=2"),
    ("cocondenser", ("training.global_batch=32", "training.micro_batch=32"), "a batch too small for contrast"),
    ("cocondenser", ("objective.contrast.group=1",), "greater than or equal to 2"),
    ("dupmae", ("model.randomized_positions=512",), "leave it out with objective bottleneck"),
]


@pytest.mark.parametrize(("recipe", "overrides", "message"), REFUSED)
def test_it_is_refused_with_the_reason_and_a_way_out(recipe: str, overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_config(recipe, ["data.paths=[corpus]", *overrides])
