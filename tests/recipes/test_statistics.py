"""Rates, spans and replacement shares of every recipe, as its file says, drawn many times.

The corruption is the recipe's own. Tolerances are four standard deviations of the drawn number, or more.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from pipeline.batch import IGNORED_LABEL, Batch, Views
from pipeline.config import RunConfig, load_config
from pipeline.corruption.config import CorruptionConfig
from pipeline.corruption.corruption import Corruption
from pipeline.corruption.pieces import GivenSample
from tests.recipes.small import RECIPES, table_for
from tests.recipes.test_golden import SPECIAL_TOKENS

WINDOW, COUNT, VOCAB_SIZE, FIRST = 256, 80, 4000, 200
SIMILAR = 4  # tokens on either side that the test's table takes for alike, at most


class InPlace(NamedTuple):
    """Of the text: the share that is hidden. Of that: the shares of masks, of tokens left, and of similar ones."""

    hidden: float
    mask: float = 0.8
    kept: float = 0.1
    similar: float = 0.0


IN_PLACE = {
    "3ml": InPlace(0.5, 1.0, 0.0),
    "bert": InPlace(0.15),
    "bert_nsp": InPlace(0.15),
    "bert_wwm": InPlace(0.15),
    "c_rts": InPlace(0.15, 0.0, 0.0, similar=1.0),
    "cocondenser": InPlace(0.15),
    "condenser": InPlace(0.15),
    "dupmae": InPlace(0.3),
    "electra": InPlace(0.15, 1.0, 0.0),
    "macbert": InPlace(0.15, 0.0, 0.1, similar=0.8),
    "mae_lm": InPlace(0.15, 1.0, 0.0),
    "mpnet": InPlace(0.15),
    "pmi_mask": InPlace(0.3),
    "retromae": InPlace(0.3),
    "rom": InPlace(0.15),
    "rts": InPlace(0.15, 0.0, 0.0),
    "seed_encoder": InPlace(0.15),
    "seed_encoder_one_layer": InPlace(0.15),
    "slm": InPlace(0.15, 0.0, 0.0),
}
# Of the decoder's own draw: the share that it is asked about, and the share of masks among it.
SECOND_DRAW = {
    "dupmae": (1.0, 0.0),
    "pmi_mask": (0.5, 1.0),
    "retromae": (1.0, 0.0),
    "seed_encoder": (1.0, 0.0),
    "seed_encoder_one_layer": (1.0, 0.0),
}
# Of each part: the share that is hidden, and the mean length of a span (None: the whole share is one).
SPANS: dict[str, tuple[tuple[float, float | None], ...]] = {
    "prefix_lm": ((0.5, None),),
    "t5_span": ((0.15, 3.0),),
    "ul2": ((0.15, 3.0), (0.15, 8.0), (0.25, None), (0.5, 3.0), (0.5, 8.0), (0.15, 64.0), (0.5, 64.0)),
}
MODES = {"ul2": {0: 2 / 7, 1: 1 / 7, 2: 4 / 7}, "unixcoder": {3: 1 / 3, 4: 1 / 3, 5: 1 / 3}}
OTHERS = {"bart", "unixcoder"}  # each has a test of its own below


def test_every_recipe_is_counted() -> None:
    assert IN_PLACE.keys() | SPANS.keys() | OTHERS == set(RECIPES)


def config_of(recipe: str) -> RunConfig:
    return load_config(recipe, ["data.paths=[corpus]", *table_for(recipe, VOCAB_SIZE)])


def samples_of(count: int = COUNT, window: int = WINDOW) -> list[GivenSample]:
    """Windows of one text: words of one to three tokens, sentences of about 16, every second token important."""
    random = np.random.default_rng(0)

    def sample(position: int, other: GivenSample | None = None) -> GivenSample:
        marks = {
            "words": random.random(window) < 0.5,
            "sents": random.random(window) < 1 / 16,
            "weight": np.where(np.arange(window) % 2, 240, 16),
            "spans": np.where(random.random(window) < 0.3, 1, 2),
        }
        tokens = random.integers(FIRST, VOCAB_SIZE, window)
        columns = {name: values.astype(np.uint8) for name, values in marks.items()}
        return GivenSample(position, tokens, np.array([0, window]), columns, other)

    return [sample(position, sample(position)) for position in range(count)]


def views_of(corruption: CorruptionConfig, samples: list[GivenSample]) -> Views:
    window = len(samples[0].tokens)
    return Corruption(corruption, SPECIAL_TOKENS, VOCAB_SIZE, window, 1, seed=1).apply(samples).views


def text_rows(view: Batch) -> np.ndarray:
    """The rows of the view that hold a token of a text, hidden or not, bool [T]."""
    ends = np.isin(view.tokens, [SPECIAL_TOKENS.cls, SPECIAL_TOKENS.sep])
    return ~ends & (np.arange(len(view.tokens)) < view.num_rows)


@pytest.mark.parametrize("recipe", IN_PLACE)
def test_tokens_are_hidden_at_the_stated_rate_and_replaced_by_the_stated_shares(recipe: str) -> None:
    expected, config = IN_PLACE[recipe], config_of(recipe)
    views = views_of(config.corruption, samples_of())
    masked = config.objective["kind"] == "masked_autoencoder"
    view = views["decoder" if masked else "encoder"]
    rows = text_rows(view)
    shown, labels = view.tokens[rows], view.labels[rows]
    hidden = labels != IGNORED_LABEL
    # Exactly so many in every window, but for words and n-grams that no longer fit, and texts that were cut short.
    slack = 0.01 if recipe in ("bert_wwm", "macbert", "bert_nsp") else 0.002
    assert abs(hidden.mean() - expected.hidden) < slack
    shown, labels = shown[hidden], labels[hidden]
    tolerance = 4 * (0.25 / len(shown)) ** 0.5
    assert abs((shown == SPECIAL_TOKENS.mask).mean() - expected.mask) < tolerance
    assert abs((shown == labels).mean() - expected.kept) < tolerance
    near = (np.abs(shown - labels) <= SIMILAR) & (shown != labels)
    assert abs(near.mean() - expected.similar) < tolerance + 8 / (VOCAB_SIZE - FIRST)
    if masked:
        assert abs(views["encoder"].num_rows / view.num_rows - (1 - expected.hidden)) < 0.01


@pytest.mark.parametrize("recipe", SECOND_DRAW)
def test_the_decoder_is_asked_about_the_stated_share(recipe: str) -> None:
    asked, masks = SECOND_DRAW[recipe]
    view = views_of(config_of(recipe).corruption, samples_of(40))["decoder"]
    rows = text_rows(view)
    chosen = view.labels[rows] != IGNORED_LABEL
    assert abs(chosen.mean() - asked) < 0.002
    assert (view.tokens[rows][chosen] == SPECIAL_TOKENS.mask).mean() == masks
    assert masks or (view.tokens[rows][chosen] == view.labels[rows][chosen]).all()


@pytest.mark.parametrize("recipe", ["rom", "pmi_mask"])
def test_important_tokens_are_hidden_far_more_often(recipe: str) -> None:
    views = views_of(config_of(recipe).corruption, samples_of())
    view = views["decoder" if recipe == "pmi_mask" else "encoder"]
    hidden = (view.labels[text_rows(view)] != IGNORED_LABEL).reshape(COUNT, WINDOW)
    important, other = hidden[:, 1::2].mean(), hidden[:, ::2].mean()
    assert important > 3 * other  # weights of 240 and 16; at a rate of one half most important ones are taken


@pytest.mark.parametrize("recipe", SPANS)
def test_spans_have_the_stated_rate_and_mean_length(recipe: str) -> None:
    config = config_of(recipe)
    parts = [part.corruption for part in config.corruption.mixture] or [config.corruption]
    for corruption, (rate, length) in zip(parts, SPANS[recipe], strict=True):
        samples = samples_of(300 if recipe == "prefix_lm" else 40, config.stream.window)
        views = views_of(corruption, samples)
        total = sum(len(sample.tokens) for sample in samples)
        labels = views["decoder"].labels
        special = np.isin(labels, [SPECIAL_TOKENS.eos, *SPECIAL_TOKENS.sentinels])
        hidden = int((~special & (labels != IGNORED_LABEL)).sum())
        # prefix_lm cuts anywhere: four standard deviations of 0.29 / 300 ** 0.5
        assert abs(hidden / total - rate) < (0.07 if recipe == "prefix_lm" else 0.005)
        spans = int(np.isin(views["encoder"].tokens, SPECIAL_TOKENS.sentinels).sum())
        if length is None:
            assert spans in (0, len(samples))  # the end of the text, with one sentinel or none
        else:
            assert spans == len(samples) * max(round(rate * config.stream.window / length), 1)


@pytest.mark.parametrize("recipe", MODES)
def test_modes_are_drawn_at_their_shares(recipe: str) -> None:
    views = views_of(config_of(recipe).corruption, samples_of(600, 32))
    first = views["encoder"].tokens[views["encoder"].cu_seqlens[:600]]
    for mode, share in MODES[recipe].items():
        assert abs((first == SPECIAL_TOKENS.spares[mode]).mean() - share) < 4 * (share * (1 - share) / 600) ** 0.5


def test_bart_hides_three_tenths_in_poisson_spans_and_shuffles_the_sentences() -> None:
    samples = samples_of()
    views = views_of(config_of("bart").corruption, samples)
    encoder, decoder = views["encoder"], views["decoder"]
    total = COUNT * WINDOW
    masks = (encoder.tokens == SPECIAL_TOKENS.mask).sum()
    visible = encoder.num_rows - masks - COUNT  # without the end tokens
    assert abs((total - visible) / total - 0.3) < 0.005
    assert (total - visible) / masks == pytest.approx(3.5, rel=0.08)  # 1,750 spans with a deviation of 1.9 each
    assert (decoder.labels != IGNORED_LABEL).sum() == total + COUNT
    shuffled = sum(
        samples[n].tokens[0] != encoder.tokens[encoder.cu_seqlens[n]]
        and encoder.tokens[encoder.cu_seqlens[n]] != SPECIAL_TOKENS.mask
        for n in range(COUNT)
    )
    assert shuffled > 0.7 * COUNT


def test_unixcoder_hides_as_bert_writes_all_of_a_text_or_its_spans() -> None:
    config = config_of("unixcoder")
    masked, written, denoised, spans = (part.corruption for part in config.corruption.mixture)
    samples = samples_of(60)
    view = views_of(masked, samples)["encoder"]
    assert abs((view.labels[: view.num_rows] != IGNORED_LABEL).mean() - 0.15) < 0.002
    views = views_of(written, samples)
    assert (views["decoder"].labels != IGNORED_LABEL).sum() == 60 * (WINDOW + 1)
    sentinels = [
        np.isin(views_of(part, samples)["encoder"].tokens, SPECIAL_TOKENS.sentinels).sum() / 60
        for part in (denoised, spans)
    ]
    assert sentinels[0] == pytest.approx(0.15 * WINDOW / 3, rel=0.05)
    marked = np.mean([(sample.columns["spans"] == 1).sum() for sample in samples])
    assert sentinels[1] == pytest.approx(min(0.33 * marked, 32), rel=0.05)


@pytest.mark.parametrize("recipe", ["macbert", "bert_nsp"])
def test_half_of_the_pairs_are_not_as_the_text_is(recipe: str) -> None:
    view = views_of(config_of(recipe).corruption, samples_of(200, 96))["encoder"]
    asked = view.pair_labels[view.pair_labels != IGNORED_LABEL]
    assert len(asked) > 170
    assert abs(asked.mean() - 0.5) < 0.15  # four standard deviations


def test_the_similar_tokens_of_these_tests_are_near(tmp_path: Path) -> None:
    [override] = table_for("c_rts", VOCAB_SIZE)
    table = np.load(override.partition("=")[2])
    assert np.abs(table[FIRST:] - np.arange(FIRST, VOCAB_SIZE)[:, None]).max() <= SIMILAR
