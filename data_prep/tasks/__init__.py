"""What runs in worker processes: a file per kind of task, each a pure function of files to files.

Invariant: a task may run twice, at the same time, or be killed anywhere. It writes under temporary names and
renames; its record comes last and lists its `files` with their digests; whoever finishes writes the same bytes.

1. `passes`: read a unit, or a pass's documents, and carry stages out.
2. `reduce`: one part of a step from observations to a decision.
3. `train`: sample the tokenizer's training text, train it.
4. `tokenize`: write a unit's train and held-out shards.
5. `finish`: write them again with what the whole corpus's tokens decided.
"""

from typing import Any

from data_prep.tasks.finish import FinishTask
from data_prep.tasks.finish import run as finish
from data_prep.tasks.passes import PassTask
from data_prep.tasks.passes import run as carry_out
from data_prep.tasks.reduce import ReduceTask
from data_prep.tasks.reduce import run as reduce
from data_prep.tasks.tokenize import TokenizeTask
from data_prep.tasks.tokenize import run as tokenize
from data_prep.tasks.train import SampleTask, TrainTask, sample, train
from data_prep.work import WorkFolder

__all__ = ["FinishTask", "PassTask", "ReduceTask", "SampleTask", "Task", "TokenizeTask", "TrainTask", "perform"]

Task = PassTask | ReduceTask | SampleTask | TrainTask | TokenizeTask | FinishTask

_FUNCTIONS: dict[type, Any] = {
    PassTask: carry_out,
    ReduceTask: reduce,
    SampleTask: sample,
    TrainTask: train,
    TokenizeTask: tokenize,
    FinishTask: finish,
}


def perform(task: Task, work: WorkFolder) -> dict[str, Any]:
    """Do a task; its record, everything it speaks of being there."""
    return _FUNCTIONS[type(task)](task, work)
