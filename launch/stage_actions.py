"""What each stage does: one function per stage, config in, plain result out. The graph around them is launch.stages.

Heavy libraries are imported by the stage that needs them, so that a finished stage costs nothing.
"""

import json
import os
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from data_prep.errors import InputError, SpanwrightError, StoppedEarlyError
from data_prep.shards import Dataset
from data_prep.shards.files import publish, staged_bytes
from data_prep.shards.names import CARD_NAME, MANIFEST_NAME
from launch.malloc import keep_freed_memory
from launch.start import Start
from launch.terminal import count, count_of, detail
from pipeline.checkpoint.compatible import check_continues as check_config_continues
from pipeline.checkpoint.load import newest_record, saved_steps
from pipeline.checkpoint.places import open_store
from pipeline.config import RunConfig
from pipeline.evaluation.config import FOLDER

Result = dict[str, Any]
Launch = Callable[[RunConfig], int]
"""Trains a run whose folder has its config; returns the exit code, its message on standard error."""
EXPORT_RECORD = "export.json"


def prep(config: RunConfig) -> Result:
    """Corpus to token shards in `config.data_dir`; does nothing when they are there and unchanged.

    Without `data.paths`, the dataset that `data.dir` holds is taken as it is.
    """
    if not config.data.paths and (existing := existing_dataset(config)) is not None:
        return existing
    from data_prep.driver import prepare
    from launch.progress import preparation_progress

    with preparation_progress() as progress:
        report = prepare(config.data, config.data_dir, progress)
    if report.did_nothing:
        detail("done before, nothing changed")
    return {
        "dataset": str(report.folder),
        "fingerprint": report.fingerprint,
        "vocab_size": report.vocab_size,
        "documents": report.documents,
        "tokens": report.tokens,
        "notes": report.notes,
    }


def existing_dataset(config: RunConfig) -> Result | None:
    """What `prep` would say of the dataset in `config.data_dir`; None when there is none."""
    if not (config.data_dir / MANIFEST_NAME).is_file():
        return None
    manifest = Dataset.open(config.data_dir).manifest
    return {
        "dataset": str(config.data_dir),
        "fingerprint": manifest.fingerprint,
        "vocab_size": manifest.tokenizer.vocab_size,
        "documents": {name: sum(shard.documents for shard in shards) for name, shards in manifest.splits.items()},
        "tokens": {name: sum(shard.tokens for shard in shards) for name, shards in manifest.splits.items()},
        "notes": [],
    }


def train(config: RunConfig, launch: Launch | None = None) -> Result:
    """Train to the last step, continuing from the newest valid checkpoint: on this machine's ranks, or by `launch`."""
    code = (launch or _launch_here)(config)
    if code == StoppedEarlyError.exit_code:
        raise StoppedEarlyError("training stopped early; the same command continues it.")
    if code == InputError.exit_code:
        raise InputError("training cannot start: see the message above.")
    if code != 0:
        raise SpanwrightError("training failed: see the message above.")
    return json.loads((config.train_dir / "result.json").read_text(encoding="utf-8"))


def _launch_here(config: RunConfig) -> int:
    from launch.local import launch_local

    return launch_local(config.run_dir, config.training.ranks, config.training.threads_per_rank)


def export(config: RunConfig) -> Result:
    """Write the newest checkpoint's weights to a folder for each target, compare them with it, record the figures."""
    from pipeline.export.run import export_run

    done: Result = {}
    for target, figures in export_run(config):
        done[target] = figures
        _record_export(config, target, figures)
    return done


def exports_are_there(config: RunConfig, result: Result) -> bool:
    """Whether the folder of every target is where it was written."""
    return all((config.export_dir / target).is_dir() for target in result)


def _record_export(config: RunConfig, target: str, figures: Result) -> None:
    """Put `figures` into export.json, beside those of targets exported before whose folders are still there."""
    path = config.export_dir / EXPORT_RECORD
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        before = {}
    kept = {name: entry for name, entry in before.items() if (config.export_dir / name).is_dir()}
    publish([staged_bytes(path, json.dumps({**kept, target: figures}, indent=1).encode())])


def evaluate(config: RunConfig) -> Result:
    """Held-out loss before and after training, and held-out snippets filled in by the exported model."""
    from pipeline.evaluation.run import evaluate_run
    from pipeline.evaluation.snippets import fill_in_snippets, why_not_filled_in

    keep_freed_memory()
    place, found = evaluate_run(config, config.evaluation.probes, lenient=True)
    probes = {name: figures.as_json() for name, figures in found if not isinstance(figures, str)}
    result = json.loads((config.train_dir / "result.json").read_text(encoding="utf-8"))
    return {
        "heldout_loss_before": result["heldout_loss_before"],
        "heldout_loss_after": result["heldout_loss_after"],
        "probes": {name: {key: probe[key] for key in ("metrics", "groups")} for name, probe in probes.items()},
        "results": str(place.path),
        "skipped": list(place.skipped),
        "filled_in": fill_in_snippets(config),
        "not_filled_in": why_not_filled_in(config),
    }


def summary(name: str, config: RunConfig, result: Result) -> Iterator[str]:
    """What to tell the user about a stage's result, a line each."""
    return {"prep": _about_prep, "train": _about_train, "export": _about_export, "evaluate": _about_evaluate}[name](
        config, result
    )


def has_training_state(config: RunConfig) -> bool:
    """Whether the run has trained anything yet."""
    return bool(saved_steps(config.checkpoints)) or (config.train_dir / "metrics.jsonl").exists()


def remove_training_state(config: RunConfig) -> None:
    """Forget everything that was trained and exported (data stays)."""
    store = open_store(config.checkpoints)
    for name in store.folders():
        store.remove(name)
    shutil.rmtree(config.train_dir, ignore_errors=True)
    shutil.rmtree(config.export_dir, ignore_errors=True)
    shutil.rmtree(config.run_dir / FOLDER, ignore_errors=True)


def check_continues(config: RunConfig, start: Start) -> None:
    """InputError with both values when `config` cannot continue the run in its folder; nothing has been changed yet."""
    record = newest_record(config.checkpoints, last=start.step)
    if record is not None:
        allowed = start.allows_data_change(config, record)
        check_config_continues(record.config, config.model_dump(mode="json"), record.step, allowed)


def _about_prep(config: RunConfig, result: Result) -> Iterator[str]:
    documents, tokens = result["documents"], result["tokens"]
    yield (
        f"{count_of(sum(documents.values()), 'document')} ({documents.get('heldout', 0):,} held out), "
        f"{count(sum(tokens.values()))} tokens, vocabulary {result['vocab_size']:,}"
    )
    yield from result["notes"]
    card = Path(result["dataset"]) / CARD_NAME
    yield f"{_shown(card)} shows what is in it" if card.is_file() else _shown(card.parent)


def _about_train(config: RunConfig, result: Result) -> Iterator[str]:
    before, after = result["heldout_loss_before"], result["heldout_loss_after"]
    if before and after:
        lower = f"{1 - after / before:.0%} lower"
        yield f"held-out loss {before:.3f} before, {after:.3f} after {result['step']:,} steps ({lower})"
    yield f"weights sha256 {result['weight_hash']}"
    yield f"tensorboard --logdir {shlex.quote(_shown(config.train_dir / 'tensorboard'))}"


def _about_export(config: RunConfig, result: Result) -> Iterator[str]:
    if not result:
        yield "nothing to export (export.to is empty)"
    yield from dict.fromkeys(line for figures in result.values() for line in figures.get("skipped", []))
    for target, figures in result.items():
        yield from (f"{target}: {line}" if len(result) > 1 else line for line in _about_target(target, figures))
        kept = config.export.encoder_layers
        if kept and target in ("encoder", "sentence-transformers"):
            yield f"its first {kept} of {config.model.num_layers} layers"
        yield _shown(config.export_dir / target)


def _about_target(target: str, figures: Result) -> Iterator[str]:
    what = next(name for name in ("logits", "states", "vectors") if name in figures)
    compared, ids = figures[what], figures["tokenizer"]
    computed = "onnxruntime's float32" if target == "onnx" else "float64"
    yield (
        f"{what} differ by at most {compared['max_abs_difference']:.1e} from the trained model's "
        f"({compared['sequences']} held-out sequences, {computed}, allowed {figures['tolerance']:.0e})"
    )
    ties = f" ({ids['ties']} texts cut differently at equal scores)" if ids["ties"] else ""
    yield f"the same token ids on {ids['texts'] - ids['ties']} of {ids['texts']} held-out texts{ties}"


def _about_evaluate(config: RunConfig, result: Result) -> Iterator[str]:
    before, after = result["heldout_loss_before"], result["heldout_loss_after"]
    yield from result.get("skipped", [])
    if before and after:
        yield f"held-out loss {before:.3f} at step 0, {after:.3f} now ({1 - after / before:.0%} lower)"
    else:
        yield "no held-out loss: the corpus was too small to hold a document out"
    yield from _about_probes(result.get("probes", {}))
    if result.get("probes"):
        yield _shown(Path(result["results"]))
    if config.evaluation.fill_in and not result["filled_in"]:
        reason = result.get("not_filled_in") or "no held-out document is long enough to hide words in"
        yield f"no text filled in: {reason}"
    for snippet in result["filled_in"]:
        yield ""
        pairs = zip(snippet["written"], snippet["hidden"], strict=True)
        said = ", ".join(f"{written!r} for {hidden!r}" for written, hidden in pairs)
        yield f"{snippet['document']}: the model wrote {said}"
        yield from (f"    {line}" for line in snippet["text"].splitlines())


def _about_probes(probes: Result) -> Iterator[str]:
    """The held-out loss of all, of each source and language (where there are several); of other probes the figures."""
    heldout = probes.get("heldout", {"metrics": {}, "groups": {}})
    for (kind, name), metrics in _groups(heldout):
        bits = metrics.get("bits_per_byte")
        told = f", {bits['value']:.3f} bits per byte" if bits else ""
        labels = f" ({count(metrics['labels']['value'])} labels)" if "labels" in metrics else ""
        yield f"held-out loss of {kind}{name}: {metrics['loss']['value']:.3f}{told}{labels}"
    for name, probe in probes.items():
        if name != "heldout":
            figures = (f"{metric} {figure['value']:.4g}" for metric, figure in probe["metrics"].items())
            yield f"{name}: {', '.join(figures)}"


def _groups(probe: Result) -> Iterator[tuple[tuple[str, str], Result]]:
    if probe["metrics"]:
        yield ("", "all"), probe["metrics"]
    for kind, found in probe["groups"].items():
        if len(found) > 1:
            yield from (((f"{kind} ", name), metrics) for name, metrics in found.items())


def _shown(path: Path) -> str:
    """`path` as short as it can be said from here."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
