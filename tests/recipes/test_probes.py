"""Probes on models of every kind with first weights: what fits is measured and recorded, what does not is refused."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from data_prep.errors import InputError
from pipeline.checkpoint.load import step_folder
from pipeline.config import RunConfig
from pipeline.evaluation.config import probe_names
from pipeline.evaluation.figures import Figures
from pipeline.evaluation.gaps import Gap, GapFiller
from pipeline.evaluation.habits import Habits
from pipeline.evaluation.probes import bitext, describe_probes, linear_probe
from pipeline.evaluation.run import evaluate_run
from pipeline.evaluation.snippets import fill_in_snippets, why_not_filled_in
from pipeline.evaluation.subject import RunParts, Subject
from pipeline.evaluation.texts import Texts
from pipeline.export.huggingface import export_hf
from pipeline.training.assembly import open_data
from tests.recipes.small import heldout_loss
from tests.recipes.test_heldout_groups import trained

ALWAYS = {"heldout", "isotropy", "layers", "linear_probe", "retrieval", "state_rank", "tev"}
FITS = {
    "t5_span": ALWAYS | {"cloze", "decoder_lens", "infilling"},
    "bert": ALWAYS | {"cloze", "infilling", "mlm_joint"},
    "mae_lm": ALWAYS,
}
NO_PAIRS = "0 paired documents"


def refused(found: dict[str, Figures | str]) -> dict[str, str]:
    return {name: figures for name, figures in found.items() if isinstance(figures, str)}


@pytest.mark.parametrize("recipe", ["t5_span", "bert"])
def test_every_probe_that_fits_is_recorded_and_the_others_say_why(
    recipe: str, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_probes_small(monkeypatch)
    config, data, objective = trained(recipe, dataset, tmp_path)
    place, asked = evaluate_run(config, ["all"])
    found = dict(asked)
    assert found.keys() == set(probe_names())
    assert found.keys() - refused(found) == FITS[recipe] - {"linear_probe"}
    assert NO_PAIRS in refused(found)["bitext"]
    assert "no two sources" in refused(found)["linear_probe"]
    written = json.loads(place.path.read_text(encoding="utf-8"))
    assert place.path == tmp_path / "evaluation" / "0.json"
    assert (written["step"], written["checkpoint"]) == (0, "step-00000000")
    assert written["probes"].keys() == FITS[recipe] - {"linear_probe"}
    for probe in written["probes"].values():
        assert all(math.isfinite(figure["value"]) for figure in probe["metrics"].values())
    heldout = written["probes"]["heldout"]["metrics"]["loss"]
    # The test adds up other micro-batches than training.
    assert heldout["value"] == pytest.approx(heldout_loss(objective, data), rel=1e-2)
    assert float.fromhex(heldout["hex"]) == heldout["value"]
    assert len(written["probes"]["retrieval"]["values"]) == sum(
        written["probes"]["retrieval"]["settings"]["queries"].values()
    )


def test_a_probe_asked_again_replaces_its_entry_and_other_weights_drop_all(dataset: Path, tmp_path: Path) -> None:
    config, _, _ = trained("bert", dataset, tmp_path)
    for names in (["tev"], ["state_rank"], ["tev"]):
        place, asked = evaluate_run(config, names)
        list(asked)
    assert json.loads(place.path.read_text())["probes"].keys() == {"state_rank", "tev"}
    changed = json.loads(place.path.read_text()) | {"weights": "those of another training"}
    place.path.write_text(json.dumps(changed))
    list(evaluate_run(config, ["tev"])[1])
    assert json.loads(place.path.read_text())["probes"].keys() == {"tev"}


def test_mistakes_are_one_message(dataset: Path, tmp_path: Path) -> None:
    config, _, _ = trained("mae_lm", dataset, tmp_path)
    with pytest.raises(InputError, match=r"no probe 'retreival'. Did you mean 'retrieval'"):
        evaluate_run(config, ["retreival"])
    with pytest.raises(InputError, match=r"--step 7: .* has no checkpoint of this step; it has: 0"):
        evaluate_run(config, ["tev"], step=7)
    for probe, why in (
        ("decoder_lens", "no decoder"), ("infilling", "shows no masks"), ("cloze", "shows no masks"),
        ("mlm_joint", "shows no masks"), ("bitext", NO_PAIRS),
    ):  # fmt: skip
        with pytest.raises(InputError, match=why):
            list(evaluate_run(config, [probe])[1])
    damage(config)
    with pytest.raises(InputError, match=r"this checkpoint is damaged: .*changed since it was written"):
        evaluate_run(config, ["tev"], step=0)


def test_a_linear_map_tells_sources_and_translations_find_each_other(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = subject_of(trained("bert", dataset, tmp_path)[0])
    subject.texts.split = "train"  # where there are several sources
    monkeypatch.setattr(linear_probe, "FEWEST_OF_A_CLASS", 3)
    figures = linear_probe.measure(subject)
    assert len(figures.settings["sources"]) > 1
    assert figures.metrics["source_accuracy"].value == sum(figures.values) / len(figures.values)
    documents = subject.texts.documents[:10]
    pairs = [
        replace(document, pair=number + 1, language=language)
        for number, document in enumerate(documents)
        for language in ("de", "en")
    ]
    monkeypatch.setitem(vars(subject.texts), "documents", pairs)
    mined = bitext.measure(subject).metrics
    # A text is its own translation here. The margin of one that is near to all can still be below another's.
    assert min(mined["accuracy"].value, mined["f1"].value) >= 0.75
    unrelated = [replace(each, text=documents[n % 10].text) for n, each in enumerate(pairs)]
    monkeypatch.setitem(vars(subject.texts), "documents", unrelated)
    assert bitext.measure(subject).metrics["accuracy"].value < 0.5


def test_every_probe_says_what_it_measures_and_needs() -> None:
    assert all(about and needs for _, about, needs in describe_probes())


@pytest.mark.parametrize("recipe", ["t5_span", "bart", "bert", "ul2"])
def test_what_is_hidden_changes_nothing_that_is_written_and_the_likelihood_is_of_it_alone(
    recipe: str, dataset: Path, tmp_path: Path
) -> None:
    subject = subject_of(*trained(recipe, dataset, tmp_path)[:1])
    before, after = tuple(range(300, 312)), tuple(range(400, 409))
    gaps = [Gap(before, (500, 501, 502), after), Gap(before, (510, 511, 512), after)]
    filler = GapFiller(subject)
    first, second = filler.write(gaps)
    assert first == second
    fillings = [gap.hidden for gap in gaps]
    scores = filler.log_probabilities(gaps, [fillings, fillings])
    assert scores[0] == pytest.approx(scores[1], rel=1e-5)  # float32 in other batches
    # What is written greedily is likelier, token by token, than what differs in its first token.
    if recipe == "bert":
        assert filler.log_probabilities(gaps[:1], [[tuple(first), (500, 501, 502)]])[0][0] > scores[0][0]


@pytest.mark.parametrize(
    ("recipe", "fills", "head", "tail"),
    [
        ("t5_span", "sentinels", (), ("eos",)), ("ul2", "sentinels", ("spare",), ("eos",)),
        ("bart", "whole", (), ("eos",)), ("bert", "masks", ("cls",), ("sep",)), ("mpnet", "masks", ("cls",), ("sep",)),
        ("unixcoder", "masks", ("spare",), ()), ("prefix_lm", None, (), ("eos",)), ("mae_lm", None, ("cls",), ("sep",)),
        ("macbert", None, ("cls",), ("sep",)), ("electra", None, ("cls",), ("sep",)), ("slm", None, ("cls",), ("sep",)),
    ],
)  # fmt: skip
def test_a_model_is_asked_as_it_was_trained(
    recipe: str, fills: str | None, head: tuple[str, ...], tail: tuple[str, ...], small_config: Callable[..., RunConfig]
) -> None:
    config = small_config(recipe)
    special = open_data(config).tokenizer.special
    habits = Habits.of_run(config, special)
    names = {special.cls: "cls", special.sep: "sep", special.eos: "eos"} | dict.fromkeys(special.spares, "spare")
    assert habits.fills == fills
    assert bool(habits.why_not) == (fills is None)
    assert (tuple(names[i] for i in habits.head), tuple(names[i] for i in habits.tail)) == (head, tail)


@pytest.mark.parametrize(
    ("recipe", "why_not"),
    [
        ("t5_span", ""), ("ul2", ""), ("bert", ""), ("mpnet", ""), ("unixcoder", ""),
        ("bart", "writes the whole text"), ("prefix_lm", "not trained to fill gaps"), ("mae_lm", "shows no masks"),
        ("3ml", "shows no masks"), ("macbert", "trained without masks"), ("electra", "which tokens were replaced"),
    ],
)  # fmt: skip
def test_the_exported_model_fills_in_snippets_only_as_it_was_trained(
    recipe: str, why_not: str, small_config: Callable[..., RunConfig]
) -> None:
    said = why_not_filled_in(small_config(recipe))
    assert why_not in said
    assert bool(said) == bool(why_not)


@pytest.mark.parametrize("recipe", ["ul2", "unixcoder"])
def test_a_snippet_begins_with_the_models_mode_token(
    recipe: str, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the exported model is given: asked of transformers' own forward."""
    config, data, objective = trained(recipe, dataset, tmp_path)
    weights = {name: parameter.detach() for name, parameter in objective.named_parameters()}
    export_hf(weights, config.model, data.dataset.tokenizer_folder, config.export_dir / "hf")
    given = []
    embedding = torch.nn.Embedding.forward
    monkeypatch.setattr(
        torch.nn.Embedding, "forward", lambda module, ids: given.append(ids.tolist()) or embedding(module, ids)
    )
    [filled, *_] = fill_in_snippets(config)
    mode = Habits.of_run(config, data.tokenizer.special).head
    assert len(mode) == 1
    assert given[0][0][0] == mode[0]
    assert all(isinstance(text, str) for text in filled["written"])


@pytest.fixture
def small_config(dataset: Path) -> Callable[..., RunConfig]:
    from tests.recipes.small import small

    return lambda recipe: small(recipe, dataset)


def subject_of(config: RunConfig) -> Subject:
    from pipeline.checkpoint.weights import CheckpointWeights
    from pipeline.evaluation.subject import Options

    data = open_data(config)
    run = RunParts(config, data, CheckpointWeights(step_folder(config.checkpoints, 0)), 1, 1)
    return Subject.of_run(run, Texts(data.dataset, data.tokenizer), Options())


def damage(config: RunConfig) -> None:
    """Flip a bit of a weight."""
    [path, *_] = sorted(Path(config.checkpoints).glob("step-*/*.safetensors"))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def make_probes_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough to run every line, in seconds."""
    from pipeline.evaluation.probes import cloze, decoder_lens, infilling, layers, mlm_joint, retrieval

    for module, name, value in (
        (cloze, "QUESTIONS", 4), (decoder_lens, "GAPS", 3), (infilling, "GAPS", 4), (layers, "WINDOWS", 8),
        (layers, "DESCRIBED", 3), (mlm_joint, "PAIRS", 1), (mlm_joint, "CONTEXT", 12), (mlm_joint, "LARGEST", 96),
        (retrieval, "MOST_PAIRS", 10),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, value)
