"""One part of a reduction: a step from what observers saved to a decision about the whole corpus."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from data_prep.finish import FINISHES, finish_module
from data_prep.plan import Stage, task_id
from data_prep.stages import stage_module
from data_prep.stages.stage import Part, Reduction
from data_prep.work import WorkFolder

RESULT_NAME = "result"


@dataclass(frozen=True)
class ReduceTask:
    """Part `number` of `count` of reduction `index` of a stage. Folders are relative to the work folder.

    `digest` is that of everything in `inputs` and `observed`.
    """

    stage: Stage
    index: int
    number: int
    count: int
    inputs: tuple[str, ...]
    observed: tuple[str, ...]
    digest: str
    size: int  # bytes of observations

    @property
    def reduction(self) -> Reduction:
        """What to run."""
        return reductions(self.stage)[self.index]

    @property
    def kind(self) -> str:
        """What it is counted as."""
        return f"{self.stage.kind}-{self.reduction.name}"

    @functools.cached_property
    def id(self) -> str:
        """Name of the task's record and folder."""
        return task_id(self.kind, [self.stage.identity, self.index, self.number, self.count, self.digest])

    @property
    def label(self) -> str:
        """What to call it in a message."""
        return f"{self.kind} part {self.number + 1} of {self.count}"


def reductions(stage: Stage) -> list[Reduction]:
    """The reductions of a stage or a finish, in order."""
    module = finish_module(stage.kind) if stage.kind in FINISHES else stage_module(stage.kind)
    return list(module.REDUCTIONS)


def run(task: ReduceTask, work: WorkFolder) -> dict[str, Any]:
    """Run the part in a new folder; the record holds its counts and the digests of what it wrote."""
    part = functools.partial(
        Part,
        [work.folder(folder) for folder in task.inputs],
        [work.folder(folder) for folder in task.observed],
        number=task.number,
        count=task.count,
    )
    reduce: Callable[[Any, Part], dict[str, Any]] = task.reduction.run
    counts, files = work.adopt(task.id, RESULT_NAME, lambda out: reduce(task.stage.config, part(out=out)))
    return {"counts": counts, "files": files}
