import contextlib
import io
import json
import os
import pty
import re
import termios

import numpy as np
import pytest
import torch

from data_prep.errors import CorruptionError
from data_prep.tokenizer.special import SpecialTokens
from pipeline.batch import IGNORED_LABEL, Batch, MicroBatch
from pipeline.training.loop import Progress, StepReport
from pipeline.training.reports.metrics import MetricsLog, read_metrics
from pipeline.training.reports.progress import Pace, ProgressLine, format_duration
from pipeline.training.reports.tensorboard import view_statistics
from pipeline.training.throughput import MeasuredPeak, Peak


def report(step: int, loss: float = 1.5) -> StepReport:
    return StepReport(
        progress=Progress(step, step * 4, step * 100),
        loss=loss,
        terms={"denoising": loss},
        learning_rate=1e-3,
        grad_norm=0.5,
        tokens=100,
        seconds=0.5,
        own_seconds=0.2,
        data_wait_seconds=0.05,
        micro_batch=MicroBatch({}, np.arange(4)),
    )


def test_on_resume_the_file_is_cut_back_to_the_resumed_step(tmp_path):
    path = tmp_path / "train" / "metrics.jsonl"
    log = MetricsLog(path, 0)
    log.write_heldout(0, {"denoising": 9.0})
    for step in (1, 2, 3):
        log.write_step(report(step, loss=1.0 / step))
    log.close()
    path.write_text(path.read_text() + '{"step": 4, "lo')  # killed while writing
    log = MetricsLog(path, 2)
    log.write_step(report(3, loss=0.25))
    log.close()
    assert [(r["step"], r.get("loss", r.get("heldout_loss"))) for r in read_metrics(path)] == [
        (0, 9.0), (1, 1.0), (2, 0.5), (3, 0.25),
    ]  # fmt: skip


def test_a_run_that_starts_over_starts_an_empty_file(tmp_path):
    path = tmp_path / "metrics.jsonl"
    MetricsLog(path, 0).write_heldout(0, {"denoising": 9.0})
    MetricsLog(path, 0).write_step(report(1))
    assert [record["step"] for record in read_metrics(path)] == [1]


def test_a_damaged_line_is_named(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path, 0)
    for step in (1, 2, 3):
        log.write_step(report(step))
    log.close()
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[1][:40], lines[2], ""]))
    with pytest.raises(CorruptionError, match=r"metrics.jsonl, line 2: damaged"):
        read_metrics(path)


def test_the_line_of_a_step_tells_its_flops_and_the_statistics_of_its_masks(tmp_path):
    log = MetricsLog(tmp_path / "metrics.jsonl", 0, flops_of_step=12_000)
    log.write_step(report(1), {"labels": 3.0})
    log.write_step(report(2))
    first, second = read_metrics(tmp_path / "metrics.jsonl")
    assert (first["flops"], first["views"], second["flops"]) == (12_000, {"labels": 3.0}, 12_000)
    assert "views" not in second


def test_hexadecimal_losses_are_exact(tmp_path):
    log = MetricsLog(tmp_path / "metrics.jsonl", 0)
    log.write_step(report(1, loss=0.1 + 0.2))
    record = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert float.fromhex(record["loss_hex"]) == 0.1 + 0.2
    assert record["tokens_per_second"] == 200.0
    assert record["data_wait"] == pytest.approx(0.1)


PEAK = Peak(1e10)


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_log_gets_a_plain_line_every_log_every_steps_and_after_the_last():
    stream, clock = io.StringIO(), Clock()
    line = ProgressLine(stream, steps=5, first_step=0, log_every=2, flops_of_step=1e9, peak=PEAK, clock=clock)
    for step in range(1, 6):
        clock.now += 0.5
        line.step(report(step))
    lines = stream.getvalue().splitlines()
    assert [text.split("  ")[5] for text in lines] == ["step 2/5", "step 4/5", "step 5/5"]
    assert lines[0] == ("          step 2/5  loss 1.5000  200 tokens/s  20.0% of peak  data wait 10.0%  0:02 left")


def test_the_time_left_forgets_the_slow_first_step_and_counts_what_lies_between_steps():
    clock = Clock()
    pace = Pace(clock)
    pace.step(30.0)  # all there is to go by
    assert (pace.seconds_of_step, pace.seconds_between_steps) == (30.0, 30.0)
    for between in (2.0, 2.0, 8.0):  # steps of 2 seconds, an evaluation of 6
        clock.now += between
        pace.step(2.0)
    assert (pace.seconds_of_step, pace.seconds_between_steps) == (2.0, 4.0)


def test_the_time_left_follows_a_run_that_changes_its_speed():
    clock = Clock()
    pace = Pace(clock)
    for seconds in [1.0] * 200 + [3.0] * 60:
        clock.now += seconds
        pace.step(seconds)
    assert (pace.seconds_of_step, pace.seconds_between_steps) == (3.0, 3.0)


def read_all(controller: int) -> str:
    """Everything a terminal was sent, once its other end is closed."""
    parts = []
    with contextlib.suppress(OSError):  # how Linux says that there is no more
        while part := os.read(controller, 1 << 16):
            parts.append(part)
    os.close(controller)
    return b"".join(parts).decode()


def test_a_terminal_gets_two_lines_that_change_and_lines_that_stay(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    controller, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 80))
    clock = Clock()
    with os.fdopen(terminal, "w", encoding="utf-8") as stream:
        line = ProgressLine(stream, steps=140, first_step=0, log_every=1, flops_of_step=1e9, peak=PEAK, clock=clock)
        for step in (1, 2):
            clock.now += 0.5
            line.step(report(step))
            line.say(f"step {step}: held-out loss 1.2500")
        line.close()
    written = read_all(controller)
    shown = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).strip("\r") for text in written.split("\n")]
    assert "          step 1: held-out loss 1.2500" in shown
    assert shown[-3].startswith("          step 2/140  ━")
    assert shown[-3].rstrip().endswith("  1:09 left")
    assert shown[-2].rstrip() == "          loss 1.5000  200 tokens/s  20.0% of peak  data wait 10.0%"
    assert max(map(len, shown)) <= 80
    assert written.rfind("\x1b[?25h") > written.rfind("\x1b[?25l"), "the cursor stays hidden"


@pytest.mark.usefixtures("process_group")
def test_a_measured_peak_is_never_below_what_training_reaches():
    peak = MeasuredPeak(torch.device("cpu"), torch.float32)
    measured = peak.flops_per_second
    assert measured > 0
    assert peak.share(measured / 4) == 0.25
    assert peak.share(1000 * measured) == 1.0, "the machine was slow when it was measured"
    assert peak.share(measured) == 0.001
    for step in range(1, 4):
        peak(report(step))
    assert peak.flops_per_second == 1000 * measured, "measuring again forgets nothing"
    assert Peak(1e10).share(2e10) == 2.0, "a given one is taken at its word"


def test_durations_read_well():
    assert [format_duration(seconds) for seconds in (0, 65, 3725)] == ["0:00", "1:05", "1:02:05"]


def test_span_statistics_are_counted_from_the_views():
    special = SpecialTokens()
    first, second = special.sentinels[0], special.sentinels[1]
    encoder = Batch(
        tokens=np.array([300, first, 301, 302, second, special.eos, 0, 0]),
        positions=np.zeros(8, np.int64),
        cu_seqlens=np.array([0, 6, 6], np.int32),
        sample_rows=np.zeros(8, np.int64),
        sample_positions=np.zeros(8, np.int64),
    )
    labels = np.array([first, 310, 311, second, 312, special.eos, IGNORED_LABEL, IGNORED_LABEL])
    decoder = Batch(encoder.tokens, encoder.positions, encoder.cu_seqlens, encoder.positions, encoder.positions, labels)
    figures = view_statistics(MicroBatch({"encoder": encoder, "decoder": decoder}, np.arange(1)), special)
    assert figures["encoder_fill"] == 0.75
    assert figures["spans"] == 2
    assert figures["mean_span_length"] == 1.5
    assert figures["noise_density"] == 3 / 6  # 310, 311, 312 of them and 300, 301, 302
