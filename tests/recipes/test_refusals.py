"""Combinations that cannot work are refused when the config is read, with the reason and what to do instead."""

from pathlib import Path

import pytest

from data_prep.config import DataConfig
from data_prep.driver import prepare
from data_prep.errors import InputError
from pipeline.config import load_config
from pipeline.training.assembly import open_data
from tests.recipes.small import RECIPES, small

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
    ("slm", ("model.positions.kind=none",), "bag of words"),
    ("c_rts", ("corruption.replace.table=null",), "Give a share of similar tokens and their table"),
    ("pmi_mask", ("corruption.second_draw.replace.mask=0.8",), "use mask 1.0"),
    ("seed_encoder_one_layer", ("corruption.second_draw=null",), "in_place gives no decoder view"),
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


def test_something_is_refused_of_every_recipe() -> None:
    assert {recipe for recipe, *_ in REFUSED} == set(RECIPES)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset without columns."""
    folder = tmp_path_factory.mktemp("bare")
    (folder / "text.txt").write_text("one line of text, and another one.\n" * 400)
    config = {"paths": [str(folder / "text.txt")], "workers": 1, "heldout_fraction": 0.0}
    tokenizer, shards = {"vocab_size": 512}, {"window_sizes": [64]}
    prepare(DataConfig.model_validate({**config, "tokenizer": tokenizer, "shards": shards}), folder / "data")
    return folder / "data"


@pytest.mark.parametrize(
    ("recipe", "column"),
    [("bart", "sents"), ("bert_nsp", "sents"), ("bert_wwm", "words"), ("macbert", "words"), ("pmi_mask", "weight"),
     ("rom", "weight"), ("unixcoder", "spans")],
)  # fmt: skip
def test_a_missing_column_is_named_with_the_command_that_makes_it(recipe: str, column: str, bare: Path) -> None:
    with pytest.raises(InputError, match=f"no column '{column}'; make it with: spanwright prep .*columns.{column}="):
        open_data(small(recipe, bare))


@pytest.mark.parametrize("recipe", ["c_rts", "macbert"])
def test_a_missing_table_is_named_with_the_command_that_makes_it(recipe: str, dataset: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*nowhere\.npy: .* `spanwright similar CONFIG` makes it"):
        open_data(small(recipe, dataset, "corruption.replace.table=nowhere.npy"))
