"""What probes find of an export, beside what they find of the model that it was made from."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from data_prep.errors import InputError
from pipeline.evaluation.exported import evaluate_export
from pipeline.evaluation.figures import Figures
from pipeline.evaluation.probes import measure
from pipeline.evaluation.subject import Options, RunParts, Subject
from pipeline.evaluation.texts import Texts
from pipeline.export.run import Job

OF_GRAPHS = ("infilling", "isotropy", "state_rank")


def asked(job: Job, probes: Sequence[str]) -> dict[str, Figures]:
    """What the trained model says itself, through our own kernels."""
    run = RunParts(job.config, job.data, job.weights, 1, 1)
    subject = Subject.of_run(run, Texts(job.data.dataset, job.data.tokenizer, job.data.dataset.fingerprint), Options())
    return {name: measure(name, subject) for name in probes}


def check_same(own: Mapping[str, Figures], found: Mapping[str, Any]) -> None:
    assert own.keys() == found.keys()
    for name, figures in own.items():
        assert not isinstance(found[name], str), found[name]
        for ours, theirs in zip(figures_of(figures), figures_of(found[name]), strict=True):
            # float32 in other kernels; of weights that are no trained model's, so that losses are about 10
            assert theirs == pytest.approx(ours, rel=5e-3, abs=5e-3), name


def figures_of(figures: Figures) -> list[float]:
    """All but which layer is the best, where near ones may change places."""
    everything = [figures.metrics, *(own for named in figures.groups.values() for own in named.values())]
    return [figure.value for own in everything for name, figure in own.items() if name != "recommended_layer"]


def check_graphs(job: Job) -> None:
    """The onnx export of `job`, in its run: what it says, what it cannot, and what becomes of a damaged one."""
    folder = job.config.export_dir / "onnx"
    check_same(asked(job, OF_GRAPHS), dict(evaluate_export(folder, OF_GRAPHS)[1]))
    for probe, why in (("tev", "no table of embeddings"), ("layers", "no layer but the last")):
        with pytest.raises(InputError, match=f"{folder}: the graphs of an onnx export give {why}: ask the hf export"):
            list(evaluate_export(folder, [probe])[1])
    graph = min(folder.glob("*model.onnx"))
    graph.write_bytes(graph.read_bytes()[:100])
    with pytest.raises(InputError, match=r"onnxruntime cannot load it: .*; export it again"):
        evaluate_export(folder, ["state_rank"])
