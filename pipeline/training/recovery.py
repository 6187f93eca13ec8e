"""What becomes of a run that does not go on from a step in trouble: how it ends, or what it leaves out."""

import shlex
from dataclasses import replace
from pathlib import Path

from data_prep.errors import SpanwrightError, StoppedEarlyError
from pipeline.checkpoint.format import Record
from pipeline.config import RunConfig
from pipeline.training.continuing import Lineage
from pipeline.training.trouble import Trouble, samples_to_skip


def paused(trouble: Trouble, first_step: int, run_dir: Path) -> SpanwrightError:
    """How a run ends whose state before the step in trouble is saved: resumable, for somebody to decide.

    A scheduler may start the same command again by itself: met by the same trouble in its `first_step`, it has failed.
    """
    choices = (
        "to go on without its update: training.trouble.action=skip, for spikes training.trouble.spikes.action=skip "
        f"(or warn); what it reads: spanwright inspect {shlex.quote(str(run_dir))} --step {trouble.step + 1}"
    )
    if trouble.step == first_step:
        return SpanwrightError(f"{trouble}, as before: {choices}")
    return StoppedEarlyError(f"{trouble}; paused, and the state before this step is saved. Now {choices}")


def lineage_without(trouble: Trouble, record: Record | None, lineage: Lineage, config: RunConfig) -> Lineage:
    """What a run that goes back to the checkpoint of `record` (None: there is none) leaves out besides.

    SpanwrightError where it must stop.
    """
    wanted = config.training.trouble
    kept = f"the checkpoint of step {record.step} is kept" if record else "no checkpoint was saved yet"
    if trouble.action == "stop" or record is None:
        raise SpanwrightError(
            f"{trouble}; {kept}. Lower training.learning_rate or training.max_grad_norm, train with precision: "
            "fp32, or go on without these samples: training.trouble.action=rollback, or skip"
        )
    skipped = samples_to_skip(trouble, record.step, config.batch_sizes, lineage.skipped_ranges, wanted.skip_steps)
    if len(lineage.skipped) + len(skipped) > wanted.max_skipped_steps:
        raise SpanwrightError(
            f"{trouble}; {kept}, and going on without the samples of {len(lineage.skipped)} steps has not helped "
            f"(training.trouble.max_skipped_steps={wanted.max_skipped_steps}): lower training.learning_rate, or "
            "start from an earlier checkpoint (--from STEP)"
        )
    return replace(lineage, skipped=[*lineage.skipped, *skipped])
