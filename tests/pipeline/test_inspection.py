"""What people see of a batch, and that it is what the batch holds."""

import dataclasses
import io
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from data_prep.config import TokenizerConfig
from data_prep.tokenizer.tokenizer import MODEL_NAME, Tokenizer
from data_prep.tokenizer.train import train_model
from pipeline.batch import IGNORED_LABEL, MicroBatch, Views
from pipeline.corruption.config import CorruptionConfig
from pipeline.corruption.corruption import Corruption
from pipeline.corruption.pieces import GivenSample
from pipeline.inspection import align, recover, render, visible

TEXTS = ["def add(a, b):\n\treturn a  +  b\n", "# héllo wörld 日本\n", "x"]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder: Path = tmp_path_factory.mktemp("tokenizer")
    source = Path(dataclasses.__file__).read_text(encoding="utf-8")
    (folder / MODEL_NAME).write_bytes(train_model([source], TokenizerConfig(vocab_size=600)).model)
    return Tokenizer.load(folder)


def sample(tokenizer: Tokenizer, texts: Sequence[str], position: int = 0) -> GivenSample:
    pieces = [tokenizer.encode(text) for text in texts]
    return GivenSample(position, np.concatenate(pieces), np.cumsum([0, *map(len, pieces)]))


def batch_of(tokenizer: Tokenizer, *samples: GivenSample) -> MicroBatch:
    config = CorruptionConfig.model_validate({"select": {"kind": "t5_spans", "noise_density": 0.4}})
    return Corruption(config, tokenizer.special, tokenizer.vocab_size, 200, 4, seed=0).apply(samples)


def printed(micro_batch: MicroBatch, tokenizer: Tokenizer, width: int, samples: int | None = None, **console) -> str:
    out = io.StringIO()
    shown = Console(file=out, width=width, **console)
    for renderable in render(micro_batch, tokenizer, samples):
        shown.print(renderable)
    return out.getvalue()


def row(text: str, name: str) -> str:
    """Everything printed in the rows called `name`, without frame and alignment."""
    lines = re.findall(rf"^│ {name} +(.*?) *│$", text, re.MULTILINE)
    return "".join(lines).replace(" ", "")


def test_the_text_comes_back_from_encoder_and_targets(tokenizer: Tokenizer) -> None:
    views = batch_of(tokenizer, sample(tokenizer, TEXTS), sample(tokenizer, TEXTS[:1], 1)).views
    assert [tokenizer.decode(piece) for piece in recover(views, tokenizer.special)] == [*TEXTS, TEXTS[0]]


def test_torch_views_are_read_as_well(tokenizer: Tokenizer) -> None:
    moved = batch_of(tokenizer, sample(tokenizer, TEXTS)).to("cpu")
    assert [tokenizer.decode(piece) for piece in recover(moved.views, tokenizer.special)] == TEXTS
    assert "position 0, sequence 0" in printed(moved, tokenizer, 80)


def test_columns_hold_every_row_of_both_views_in_order(tokenizer: Tokenizer) -> None:
    views = batch_of(tokenizer, sample(tokenizer, TEXTS)).views
    encoder, decoder = views["encoder"], views["decoder"]
    for n in range(len(TEXTS)):
        columns = align(views, n, tokenizer.special)
        assert [c.encoder for c in columns if c.encoder is not None] == encoder.tokens[encoder.sequence(n)].tolist()
        assert [c.decoder for c in columns if c.decoder is not None] == decoder.tokens[decoder.sequence(n)].tolist()
        assert [c.target for c in columns if c.target is not None] == decoder.labels[decoder.sequence(n)].tolist()


@pytest.mark.parametrize("width", [34, 60, 200])
def test_printed_rows_hold_the_views_at_any_width(tokenizer: Tokenizer, width: int) -> None:
    micro_batch = batch_of(tokenizer, sample(tokenizer, TEXTS[:1]))
    text = printed(micro_batch, tokenizer, width)
    special = tokenizer.special

    def spelled(tokens: Sequence[int]) -> str:
        return "".join(
            f"⟨{token - special.sentinels[0]}⟩" if token in special.sentinels else visible(tokenizer.id_to_piece(token))
            for token in tokens
        )

    views = micro_batch.views
    encoder, decoder = views["encoder"], views["decoder"]
    assert row(text, "encoder") == spelled(encoder.tokens[encoder.sequence(0)].tolist())
    assert row(text, "decoder") == spelled(decoder.tokens[decoder.sequence(0)].tolist())
    assert row(text, "target") == spelled(decoder.labels[decoder.sequence(0)].tolist())
    assert all(len(line) <= width for line in text.splitlines())


def test_a_sentinel_stands_above_itself_in_the_target(tokenizer: Tokenizer) -> None:
    lines = printed(batch_of(tokenizer, sample(tokenizer, TEXTS[:1])), tokenizer, 200).splitlines()
    encoder = next(line for line in lines if line.startswith("│ encoder"))
    target = next(line for line in lines if line.startswith("│ target"))
    places = [match.start() for match in re.finditer("⟨", encoder)]
    assert len(places) >= 2
    assert [match.start() for match in re.finditer("⟨", target)] == places


def test_a_title_says_how_much_is_hidden(tokenizer: Tokenizer) -> None:
    text = printed(batch_of(tokenizer, sample(tokenizer, ["x", TEXTS[0]], 7)), tokenizer, 100)
    assert "position 7, sequence 0: 0 of 1 tokens hidden in 0 spans" in text
    total = len(tokenizer.encode(TEXTS[0]))
    assert f"position 7, sequence 1: {round(total * 0.4)} of {total} tokens hidden in " in text


def test_a_sentinel_and_its_span_share_a_colour_only_on_a_terminal(tokenizer: Tokenizer) -> None:
    micro_batch = batch_of(tokenizer, sample(tokenizer, TEXTS[:1]))
    coloured = printed(micro_batch, tokenizer, 200, force_terminal=True, color_system="standard", legacy_windows=False)
    target = next(line for line in coloured.splitlines() if "target" in line)
    assert re.search("\x1b\\[1;32m⟨0⟩ *\x1b\\[0m\x1b\\[32m", target)
    assert "\x1b" not in printed(micro_batch, tokenizer, 200)


def test_only_the_samples_asked_for_are_shown(tokenizer: Tokenizer) -> None:
    micro_batch = batch_of(tokenizer, sample(tokenizer, TEXTS, 3), sample(tokenizer, TEXTS, 9))
    text = printed(micro_batch, tokenizer, 100, samples=1)
    assert text.count("position 3") == 3
    assert "position 9" not in text


@pytest.mark.parametrize(
    ("piece", "shown"),
    [("▁", "·"), ("▁▁▁▁return", "····return"), ("<0x0A>", "⏎"), ("\n\t", "⏎⇥"), ("<0xE6>", "\\xE6"), ("\x07", "\\x07")],
)
def test_white_space_bytes_and_control_characters_are_visible(piece: str, shown: str) -> None:
    assert visible(piece) == shown


def spoiled(views: Views, label: int, value: int) -> Views:
    labels = views["decoder"].labels.copy()
    assert labels[label] != value
    labels[label] = value
    return {**views, "decoder": dataclasses.replace(views["decoder"], labels=labels)}


def test_targets_that_do_not_fit_the_encoder_are_refused(tokenizer: Tokenizer) -> None:
    views = batch_of(tokenizer, sample(tokenizer, TEXTS[:1])).views
    sentinels = tokenizer.special.sentinels
    with pytest.raises(ValueError, match="targets"):
        recover(spoiled(views, 0, sentinels[5]), tokenizer.special)
    with pytest.raises(ValueError, match="targets"):
        recover(spoiled(views, 1, tokenizer.special.eos), tokenizer.special)


LAYOUTS = {
    "full_reconstruction": ({"kind": "mask_per_span"}, ("encoder", "decoder", "target")),
    "in_place": ({"kind": "token_by_token"}, ("encoder", "target")),
    "visible_only": ({"kind": "token_by_token", "mask": 1.0, "random": 0.0}, ("encoder", "decoder", "target")),
    "permuted": ({"kind": "token_by_token", "mask": 1.0, "random": 0.0}, ("encoder", "target")),
    "sentinel_targets": ({"kind": "dropped"}, ("encoder", "decoder", "target")),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_shows_what_its_views_hold(tokenizer: Tokenizer, layout: str) -> None:
    replace, names = LAYOUTS[layout]
    select = {"kind": "permutation_tail", "rate": 0.3}
    config = CorruptionConfig.model_validate({"select": select, "replace": replace, "layout": {"kind": layout}})
    made = Corruption(config, tokenizer.special, tokenizer.vocab_size, 200, 4, seed=0)
    batch = made.apply([sample(tokenizer, TEXTS[:1])])
    out = io.StringIO()
    for renderable in render(batch, tokenizer, alignment="none"):
        Console(file=out, width=100).print(renderable)
    views = {"encoder": batch.views["encoder"], "decoder": batch.views.get("decoder", batch.views["encoder"])}
    for name in names[:-1]:
        view = views[name]
        pieces = "".join(visible(tokenizer.id_to_piece(token)) for token in view.tokens[view.sequence(0)].tolist())
        assert row(out.getvalue(), name) == pieces.replace(" ", "")
    labelled = views[names[-2]]
    targets = [label for label in labelled.labels[labelled.sequence(0)].tolist() if label != IGNORED_LABEL]
    shown = "".join(visible(tokenizer.id_to_piece(label)) for label in targets)
    assert row(out.getvalue(), "target") == shown.replace(" ", "")
    assert f"{len(targets)} targets" in out.getvalue()
