"""One rank of test_resume.py: `python -m pipeline.training`, watched, and killed from within where the test says so.

    observed_rank.py RUN_DIR REPORTS [KILLED_RANK KILL_AFTER]

The rank trains as ever. Beside it REPORTS/rank-N.json gets, in the order of reading, the position of each sample and
the digest of its views; and, after a resume, what of the state in the engine differs from the checkpoint's files. Rank
KILLED_RANK sends itself SIGKILL after its backward number KILL_AFTER, which must not be the last of a step.
"""

import hashlib
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

import pipeline.training.__main__ as entry
import pipeline.training.run as run
from pipeline.batch import MicroBatch
from pipeline.checkpoint.format import KINDS, Record
from pipeline.checkpoint.state import TrainingState
from pipeline.training.engine import Engine


def sample_digests(micro_batch: MicroBatch) -> list[tuple[int, str]]:
    """(position, digest of tokens, positions, rows and labels in every view) of each sample."""
    digests = {int(position): hashlib.sha256() for position in micro_batch.positions}
    for name, view in micro_batch.views.items():
        for position, digest in digests.items():
            mine = view.sample_positions == position
            for values in (view.tokens, view.positions, view.sample_rows, view.labels):
                digest.update(name.encode() + (b"" if values is None else values[mine].numpy().tobytes()))
    return [(position, digest.hexdigest()) for position, digest in digests.items()]


def state_differences(folder: Path, record: Record, state: TrainingState, engine: Engine) -> list[str]:
    """What in the engine is not, bit for bit, what the checkpoint's files hold. Collective."""
    differences = []
    saved: dict[str, dict[str, torch.Tensor]] = {kind: {} for kind in (*KINDS, *(state.moments or ()))}
    for path in folder.glob("*.safetensors"):
        saved[path.name.rpartition("-")[0]] |= safetensors.torch.load_file(path)
    for name in sorted(record.parameters):
        kinds = [kind for kind in saved if kind == "master" or state.moments is None or name in state.moments[kind]]
        differences += [
            f"{kind} of {name}" for kind in kinds if not same_bits(state.read(name, kind), saved[kind].pop(name))
        ]
    differences += [f"{kind} of {name} is in no engine" for kind, left in saved.items() for name in left]
    masters = dict(state.masters())
    with state.averaged():
        weights = full_weights(engine)
    for name, weight in weights.items():
        if not same_bits(weight, masters[name].to(weight.dtype)):
            differences.append(f"the weight {name} that forward reads")
    updates = {float(of_parameter["step"]) for of_parameter in engine.optimizer.state.values()}
    expected = record.step - len(record.skipped_updates)
    return differences + [f"{found} updates" for found in updates if found != expected]


def same_bits(left: torch.Tensor, right: torch.Tensor) -> bool:
    return left.shape == right.shape and left.dtype == right.dtype and torch.equal(bits(left), bits(right))


def bits(value: torch.Tensor) -> torch.Tensor:
    return value.detach().contiguous().view(torch.uint8)


def full_weights(engine: Engine) -> dict[str, torch.Tensor]:
    """The weights as the forward pass reads them, gathered under ZeRO 3. Collective."""
    import deepspeed

    parameters = dict(engine.parameters())
    partitioned = [parameter for parameter in parameters.values() if hasattr(parameter, "ds_id")]
    with deepspeed.zero.GatheredParameters(partitioned, enabled=bool(partitioned)):
        return {name: parameter.detach().clone() for name, parameter in parameters.items()}


class Observer:
    """The report of this rank, rewritten with everything it observes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._engine: Engine | None = None
        self._report: dict[str, Any] = {"samples": [], "restored_step": None, "differences": None}

    def watch(self) -> None:
        """Stand between the run and its parts."""
        build_engine, restore_state, load_steps = run.build_engine, run.restore_state, run.load_steps

        def building(*arguments: Any) -> Engine:
            self._engine = build_engine(*arguments)
            return self._engine

        def restoring(folder: Path, record: Record, state: TrainingState) -> None:
            restore_state(folder, record, state)
            assert self._engine is not None
            self._write(restored_step=record.step, differences=state_differences(folder, record, state, self._engine))

        def loading(*arguments: Any) -> Iterator[list[MicroBatch]]:
            return map(self._seen, load_steps(*arguments))

        run.build_engine, run.restore_state, run.load_steps = building, restoring, loading  # type: ignore[assignment]

    def _seen(self, micro_batches: list[MicroBatch]) -> list[MicroBatch]:
        samples = [sample for micro_batch in micro_batches for sample in sample_digests(micro_batch)]
        self._write(samples=self._report["samples"] + samples)
        return micro_batches

    def _write(self, **observed: Any) -> None:
        self._report |= observed
        self._path.write_text(json.dumps(self._report), encoding="utf-8")


def kill_after(backwards: int) -> None:
    """Have this process killed after its backward number `backwards`."""
    backward, done = Engine.backward, 0

    def killing(engine: Engine, loss: torch.Tensor, last: bool) -> None:
        nonlocal done
        backward(engine, loss, last)
        done += 1
        if done == backwards:
            assert not last, "the step is over"
            os.kill(os.getpid(), signal.SIGKILL)

    Engine.backward = killing  # type: ignore[method-assign,assignment]


def main(run_dir: str, reports: str, killed_rank: str = "", backwards: str = "0") -> int:
    rank = os.environ["RANK"]
    Observer(Path(reports) / f"rank-{rank}.json").watch()
    if rank == killed_rank:
        kill_after(int(backwards))
    return entry.main([run_dir])


if __name__ == "__main__":
    os._exit(main(*sys.argv[1:]))
