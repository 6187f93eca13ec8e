"""`make demo`: the main job on real input, killed half-way with SIGKILL and continued by the same command.

1. `spanwright run demo --fresh` on the Python standard library of this interpreter
2. SIGKILL, once half of the steps are done
3. the same command again: prep is skipped, training resumes, export and evaluation follow
4. what came of it, where it is, and a page that shows it
"""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from data_prep.errors import SpanwrightError
from launch.terminal import console, heading, show_error
from pipeline.config import RunConfig, load_config

POLL_SECONDS = 0.2


def demo(overrides: Sequence[str]) -> None:
    """Run the demo with `a.b=c` overrides; raises SpanwrightError when a part of it fails."""
    config = load_config("demo", overrides)
    command = [sys.executable, "-m", "launch.cli", "run", "demo", *overrides]
    started = time.monotonic()
    heading("demo", f"spanwright run demo {' '.join(overrides)}")
    killed_at = _run_and_kill(config, [*command, "--fresh", "--yes"])
    console.print()
    heading("demo", f"SIGKILL after step {killed_at} of {config.training.steps}. The same command again:")
    if subprocess.run(command, check=False).returncode != 0:
        raise SpanwrightError("the demo's second run failed: its message is above.")
    _report(config, time.monotonic() - started)


def _run_and_kill(config: RunConfig, command: list[str]) -> int:
    """Start `command`, kill it with SIGKILL once half of the steps are in its metrics; returns the step seen."""
    half = config.training.steps // 2
    process = subprocess.Popen(command)
    try:
        while process.poll() is None:
            step = _last_step(config.train_dir / "metrics.jsonl")
            if step >= half:
                return step
            time.sleep(POLL_SECONDS)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    raise SpanwrightError(f"the demo's first run ended by itself (exit code {process.returncode}): see above.")


def _last_step(metrics: Path) -> int:
    if not metrics.is_file():
        return 0
    lines = metrics.read_text(encoding="utf-8").splitlines()
    complete = [json.loads(line) for line in lines if line.endswith("}")]
    return max((record["step"] for record in complete), default=0)


def _report(config: RunConfig, seconds: float) -> None:
    from launch.report.report import write_report  # with torch, which the demo's own process does without until now

    record = json.loads((config.run_dir / "stages" / "evaluate.json").read_text(encoding="utf-8"))["result"]
    parity = json.loads((config.export_dir / "export.json").read_text(encoding="utf-8"))["hf"]["logits"]
    before, after = record["heldout_loss_before"], record["heldout_loss_after"]
    console.print()
    heading("demo", f"done in {seconds / 60:.1f} minutes")
    console.print(f"  held-out loss      {before:.3f} at step 0, {after:.3f} now: {1 - after / before:.0%} lower")
    console.print(f"  export             logits within {parity['max_abs_difference']:.1e} of the trained model's")
    console.print(f"  report             {write_report(config.run_dir)}", soft_wrap=True)
    console.print(f"  run folder         {config.run_dir}", soft_wrap=True)
    console.print(f"  model              {config.export_dir / 'hf'}", soft_wrap=True)
    console.print(f"  TensorBoard        tensorboard --logdir {config.train_dir / 'tensorboard'}", soft_wrap=True)


if __name__ == "__main__":
    try:
        demo(sys.argv[1:])
    except SpanwrightError as error:
        show_error(str(error))
        sys.exit(error.exit_code)
