"""Results of probes: a file for each step, of one set of weights; the newest that can recommends a layer."""

import json
from pathlib import Path

import pytest

from data_prep.errors import InputError
from pipeline.evaluation.figures import Figure, Figures
from pipeline.evaluation.results import Place, recommended_layer, results_of_run

TEV, STATES = Figures({"tev": Figure(0.5)}), Figures({"effective_rank": Figure(7.0)})


def layers(recommended: float) -> Figures:
    return Figures({"recommended_layer": Figure(recommended)})


def test_a_probe_replaces_its_entry_and_other_weights_all_of_them(tmp_path: Path) -> None:
    place = Place.of_run(tmp_path, 20, "step-00000020", "a" * 64)
    for name, figures in (("tev", TEV), ("state_rank", STATES), ("tev", Figures({"tev": Figure(0.75)}))):
        place.record(name, figures)
    written = json.loads(place.path.read_text(encoding="utf-8"))
    assert {name: probe["metrics"] for name, probe in written["probes"].items()} == {
        "state_rank": {"effective_rank": {"value": 7.0, "low": None, "high": None}},
        "tev": {"tev": {"value": 0.75, "low": None, "high": None}},
    }
    Place.of_run(tmp_path, 20, "step-00000020", "b" * 64).record("tev", TEV)
    [found] = results_of_run(tmp_path)
    assert (found["weights"], found["probes"].keys()) == ("b" * 64, {"tev"})


def test_the_newest_step_that_was_asked_about_its_layers_recommends_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"--layers recommended: .* ask with: spanwright evaluate {tmp_path} layers"):
        recommended_layer(tmp_path)
    for step, name, figures in ((20, "layers", layers(3)), (9, "layers", layers(5)), (100, "tev", TEV)):
        Place.of_run(tmp_path, step, None, "a" * 64).record(name, figures)
    (tmp_path / "evaluation" / "200.json").write_text('{"probes": ', encoding="utf-8")
    assert recommended_layer(tmp_path) == 3
