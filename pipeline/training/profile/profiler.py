"""A profile of some steps of rank 0: a trace for Perfetto or Chrome, and a page that says where the time went.

Invariant: training computes the same bits with it as without. Time is read around the calls that training makes anyway;
on a device that works on its own, it is waited for at the end of each part, so that parts do not overlap.

1. `watch`      the loop's engine, steps and hooks, with the clock read around them
2. a hook       starts torch's profiler a step before the first one asked for, and stops it after the last
3. afterwards   reading and masking are measured alone (measures.py), and all is told (report.py)

    RUN/train/profile/steps-100-104.trace.json.gz, steps-100-104.md, and its figures in steps-100-104.json
"""

import contextlib
import dataclasses
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile, record_function, schedule

from data_prep.errors import InputError
from data_prep.shards.files import publish, staged_bytes
from pipeline.batch import MicroBatch
from pipeline.config import RunConfig
from pipeline.training.engine import Engine
from pipeline.training.loader import MicroBatches
from pipeline.training.loop import Hook, StepReport
from pipeline.training.profile.measures import (
    RANGE,
    Usage,
    communication_by_part,
    machine_between,
    measure_loading,
)
from pipeline.training.profile.report import Profile, Settings, summary
from pipeline.training.profile.request import WantedSteps, request_profile
from pipeline.training.rank import Rank
from pipeline.training.throughput import Peak

FOLDER = "profile"
_WARM_STEPS = 3  # of a start: one is slow, one is there to compare with, in one the profiler warms up
_LISTED_OPERATORS = 15


class Clock:
    """Seconds by part, read by the clock of this process."""

    def __init__(self, device: torch.device) -> None:
        self._device, self.runs = device, False
        self.seconds: dict[str, float] = defaultdict(float)

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """This block is (another piece of) the part `name`."""
        if not self.runs:
            yield
            return
        started = time.perf_counter()
        with record_function(RANGE + name):
            yield
            if self._device.type == "cuda":
                torch.cuda.synchronize(self._device)
        self.seconds[name] += time.perf_counter() - started


class WatchedEngine:
    """An engine with the clock read around the parts of a step."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine, self._clock = engine, clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def begin_step(self, *arguments: Any) -> None:
        """Part of the forward passes."""
        with self._clock.part("forward"):
            self._engine.begin_step(*arguments)

    def forward(self, *arguments: Any) -> Any:
        """A forward pass."""
        with self._clock.part("forward"):
            return self._engine.forward(*arguments)

    def backward(self, *arguments: Any, **options: Any) -> None:
        """A backward pass."""
        with self._clock.part("backward"):
            self._engine.backward(*arguments, **options)

    def step(self, *arguments: Any) -> float:
        """The update of the weights."""
        with self._clock.part("optimizer"):
            return self._engine.step(*arguments)


class Rates(NamedTuple):
    """Of a step on one rank: its FLOPs, and the FLOP/s that the rank can do."""

    flops: Callable[[], float]
    peak: Peak


class Profiler:
    """The last hook of a step on rank 0; tells by `say` what it found."""

    def __init__(
        self, wanted: WantedSteps, done: int, config: RunConfig, batches: MicroBatches, rank: Rank, threads: int,
        rates: Rates, say: Callable[[str], None],
    ) -> None:  # fmt: skip
        """`done` steps are done. InputError unless the steps asked for are still to come."""
        last = config.training.steps
        self.first = wanted.first or min(done + 1 + _WARM_STEPS, max(done + 1, last - wanted.num_steps + 1))
        self.last = self.first + wanted.num_steps - 1
        if not done < self.first <= self.last <= last:
            raise InputError(
                f"--profile: this start trains steps {done + 1} to {last}, not {self.first} to {self.last}."
            )
        self._config, self._batches, self._rank, self._threads = config, batches, rank, threads
        self._rates, self._say = rates, say
        self.clock = Clock(rank.device)
        self._profile: profile | None = None
        self._before: float | None = None
        self._step(done, 0)

    def watch(
        self, engine: Engine, steps: Iterator[list[MicroBatch]], hooks: Mapping[str, Sequence[Hook]]
    ) -> tuple[Any, Iterator[list[MicroBatch]], list[Hook]]:
        """What the loop takes, watched; `hooks` by the part of a step that they are."""
        watched = [self._hook(part, hook) for part, some in hooks.items() for hook in some]
        return WatchedEngine(engine, self.clock), self._steps(steps), [*watched, self]

    def _steps(self, steps: Iterator[list[MicroBatch]]) -> Iterator[list[MicroBatch]]:
        while True:
            with self.clock.part("data wait"):
                step = next(steps, None)
            if step is None:
                return
            yield step

    def _hook(self, part: str, hook: Hook) -> Hook:
        def watched(report: StepReport) -> None:
            with self.clock.part(part):
                hook(report)

        return watched

    def __call__(self, report: StepReport) -> None:
        """After a training step and all its other hooks."""
        self._step(report.progress.step, report.progress.position, report.seconds)

    def _step(self, done: int, position: int, seconds: float | None = None) -> None:
        if self._profile is not None:
            self._profile.step()
        elif done in (self.first - 2, self.first - 1):
            self._before, self._profile = seconds, self._start(warm_up=self.first - 1 - done)
        if done == self.first - 1:
            self.clock.seconds.clear()
            self.clock.runs = True
            self._began = Usage.now()
        elif done == self.last and self._profile is not None:
            end, found = Usage.now(), self._profile
            self._profile, self.clock.runs = None, False
            found.stop()
            self._write(self._figures(end, position, found), found)
            request_profile(self._config.train_dir, None)  # a restart does not do it again

    def _start(self, warm_up: int) -> profile:
        activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (self._rank.device.type == "cuda")
        count = self.last - self.first + 1
        started = profile(activities=activities, schedule=schedule(wait=0, warmup=warm_up, active=count, repeat=1))
        started.start()
        return started

    def _figures(self, end: Usage, position: int, found: profile) -> Profile:
        count, training = self.last - self.first + 1, self._config.training
        inside, communication = communication_by_part(found.events() or [])
        parts = {name: (took - inside.get(name, 0.0)) / count for name, took in self.clock.seconds.items()}
        loading = measure_loading(
            self._batches, position, training.loader_workers, masks_on_device=training.masking == "device"
        )
        machine = machine_between(self._began, end, self._threads, self._rank.local_world_size, self._rank.device)
        seconds, flops, peak = (end.wall - self._began.wall) / count, self._rates.flops(), self._rates.peak
        peak.share(flops / (parts["forward"] + parts["backward"]))  # what was reached can be reached
        return Profile(
            self.first, self.last, seconds, parts, communication / count, self._before, flops, peak.flops_per_second,
            loading, machine, self._settings(position - 1),
        )  # fmt: skip

    def _settings(self, position: int) -> Settings:
        training, ranks, sizes = self._config.training, self._rank.world_size, self._batches.sizes
        micro_batch = sizes.micro_batch(position)
        forwards = sizes.global_batch(position) // (micro_batch * ranks)
        return Settings(
            micro_batch, forwards, ranks, training.zero_stage, training.activation_checkpointing,
            self._config.checkpoint.save_every,
        )  # fmt: skip

    def _write(self, figures: Profile, found: profile) -> None:
        folder = self._config.train_dir / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        stem = f"steps-{figures.first}-{figures.last}"
        trace, page = folder / f"{stem}.trace.json.gz", folder / f"{stem}.md"
        found.export_chrome_trace(str(trace))
        lines = list(summary(figures))
        table = found.key_averages().table(
            sort_by="self_cuda_time_total" if self._rank.device.type == "cuda" else "self_cpu_time_total",
            row_limit=_LISTED_OPERATORS, max_name_column_width=50,
        )  # fmt: skip
        text = "\n".join(["# Profile", "", "```", *lines, "```", "", "## Operators", "", "```", table, "```", ""])
        known = {**dataclasses.asdict(figures), "shares": figures.shares}
        numbers = json.dumps(known, indent=1) + "\n"
        publish([staged_bytes(page, text.encode()), staged_bytes(page.with_suffix(".json"), numbers.encode())])
        for line in [*lines, f"profile: {page}", f"trace, for https://ui.perfetto.dev: {trace}"]:
            self._say(line)
