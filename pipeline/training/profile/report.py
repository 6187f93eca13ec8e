"""What a profile found, in words: where the time of a step went, and what to change, each from a measured number.

Pure: figures in, lines out. Thresholds are shares of a step below which a change would not be seen.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_SEEN = 0.02
_MUCH = 0.10
_BAR_WIDTH = 30


@dataclass(frozen=True)
class Loading:
    """How the micro-batches of a rank are made."""

    workers: int
    read_seconds: float
    """To read one, measured alone."""
    mask_seconds: float
    """To mask one, measured alone; 0 where the device masks."""


@dataclass(frozen=True)
class Machine:
    """What the profiled rank had, and what of it was busy."""

    threads: int
    cores: int
    """Of the machine, that its ranks may use."""
    ranks: int
    """On the machine."""
    own_busy: float
    """Cores that the rank's process kept busy."""
    others_busy: float
    """Cores that all other processes kept busy, other ranks and loader workers among them."""
    memory_gib: float
    """The rank's peak."""
    memory_limit_gib: float
    """All there is for it."""


@dataclass(frozen=True)
class Settings:
    """What the config says of what may be changed."""

    micro_batch: int
    micro_batches: int
    """A rank's, in a step."""
    ranks: int
    zero_stage: int
    recomputes: bool
    save_every: int


@dataclass(frozen=True)
class Profile:
    """A few steps of one rank, on average."""

    first: int
    last: int
    seconds: float
    """Of a step with all that hangs on it, as saving."""
    parts: Mapping[str, float]
    """Seconds of a step by part, communication left out."""
    communication: float
    before: float | None
    """Seconds of the step before the profiler ran, saving and evaluation left out; None if there was none."""
    flops: float
    peak: float
    loading: Loading
    machine: Machine
    settings: Settings

    @property
    def shares(self) -> dict[str, float]:
        """All of a step's time, largest first."""
        spent = {**self.parts, "communication": self.communication}
        spent["other"] = max(0.0, self.seconds - sum(spent.values()))
        return dict(sorted(((name, spent[name] / self.seconds) for name in spent), key=lambda item: -item[1]))

    def share(self, part: str) -> float:
        """A part's share of the step."""
        return self.shares.get(part, 0.0)

    @property
    def bare_seconds(self) -> float:
        """A step without waiting for data, saving and evaluating."""
        return self.seconds - sum(self.parts.get(part, 0.0) for part in ("data wait", "saving", "evaluation"))


def summary(profile: Profile) -> Iterator[str]:
    """The page, a line at a time."""
    what = f"step {profile.first}" if profile.first == profile.last else f"steps {profile.first} to {profile.last}"
    yield f"{what} of rank 0: {_time(profile.seconds)} a step{_cost(profile)}"
    for name, share in profile.shares.items():
        if share >= 0.0005:
            yield f"  {name:<14} {_time(share * profile.seconds):>9} {share:>6.1%}  {'█' * round(share * _BAR_WIDTH)}"
    yield from (f"  {line}" for line in _facts(profile))
    yield "what to change:"
    found = list(suggestions(profile))
    yield from (f"- {line}" for line in found)
    if not found:
        yield "- nothing stands out: the time goes into the model's own arithmetic"


def suggestions(profile: Profile) -> Iterator[str]:
    """What to change, a line each."""
    for advise in (_loader, _communication, _micro_batch, _threads, _recomputation, _optimizer, _saving, _crowded):
        yield from advise(profile)


def _cost(profile: Profile) -> str:
    if profile.before is None:
        return ""
    own = profile.seconds - sum(profile.parts.get(part, 0.0) for part in ("saving", "evaluation"))
    return f" ({own / profile.before - 1:+.0%} beside the step before the profiler ran)"


def _facts(profile: Profile) -> Iterator[str]:
    loading, machine = profile.loading, profile.machine
    products = profile.parts.get("forward", 0.0) + profile.parts.get("backward", 0.0)
    if products:
        rate = profile.flops / products
        yield f"forward and backward: {rate / 1e9:,.3g} GFLOP/s, {rate / profile.peak:.1%} of the peak of this rank"
    made = f"{_time(loading.read_seconds)} to read and {_time(loading.mask_seconds)} to mask"
    yield f"a micro-batch takes {made}; {profile.settings.micro_batches} a step and rank, {loading.workers} workers"
    yield f"memory at its peak: {machine.memory_gib:.1f} of {machine.memory_limit_gib:.1f} GiB for this rank"
    yield f"cores busy: {machine.own_busy:.1f} of {machine.threads} threads; other processes: {machine.others_busy:.1f}"


def _loader(profile: Profile) -> Iterator[str]:
    wait, loading = profile.share("data wait"), profile.loading
    if wait < _SEEN:
        return
    making = profile.settings.micro_batches * (loading.read_seconds + loading.mask_seconds)
    if loading.workers == 0:
        yield (
            f"training.loader_workers=1: making micro-batches is {wait:.1%} of the step, and a process of its own "
            "would do it meanwhile"
        )
        return
    needed = math.ceil(making / profile.bare_seconds)
    if needed > loading.workers:
        yield (
            f"training.loader_workers={needed}: a step's micro-batches take {_time(making)} to make, the rest of the "
            f"step {_time(profile.bare_seconds)}; waiting for them is {wait:.1%} of the step"
        )
    else:
        yield (
            f"waiting for data is {wait:.1%} of the step, though {loading.workers} workers need to be busy only "
            f"{making / profile.bare_seconds / loading.workers:.0%} of the time: they lack a core, or the disk is slow"
        )


def _communication(profile: Profile) -> Iterator[str]:
    share, settings = profile.share("communication"), profile.settings
    if share < _MUCH or settings.ranks == 1:
        return
    if settings.zero_stage >= 2 and settings.micro_batches > 1:
        wider, machine = 2 * settings.micro_batch, profile.machine
        yield (
            f"training.micro_batch={wider}: with ZeRO {settings.zero_stage} ranks communicate for every micro-batch, "
            f"{share:.0%} of the step; half as many would save up to {share / 2:.0%} (the peak is "
            f"{machine.memory_gib:.1f} of {machine.memory_limit_gib:.1f} GiB)"
        )
    elif settings.zero_stage == 3:
        yield f"training.zero_stage=2, if memory allows: gathering weights is part of {share:.0%} of the step"
    else:
        yield f"a larger training.global_batch: communication is {share:.0%} of the step, whatever a step reads"


def _micro_batch(profile: Profile) -> Iterator[str]:
    settings, machine = profile.settings, profile.machine
    if settings.zero_stage >= 2 and settings.ranks > 1 and profile.share("communication") >= _MUCH:
        return  # said already
    room = machine.memory_limit_gib * 0.8 / machine.memory_gib
    wider = max((f for f in _divisors(settings.micro_batches) if f <= room), default=1)
    if wider > 1:
        yield (
            f"training.micro_batch={wider * settings.micro_batch}: {settings.micro_batches} forwards make a step, and "
            f"a peak of {machine.memory_gib:.1f} of {machine.memory_limit_gib:.1f} GiB leaves room (it grows at most "
            f"{wider} times); larger products run nearer to this rank's FLOP/s"
        )


def _threads(profile: Profile) -> Iterator[str]:
    machine = profile.machine
    fair = machine.cores // machine.ranks
    if machine.threads < fair:
        yield (
            f"training.threads_per_rank={fair}: {machine.ranks} ranks with {machine.threads} threads each on "
            f"{machine.cores} cores"
        )
    elif machine.threads > max(1, fair):
        yield (
            f"training.threads_per_rank={max(1, fair)}: {machine.ranks} x {machine.threads} threads share "
            f"{machine.cores} cores, and wait for one another"
        )


def _recomputation(profile: Profile) -> Iterator[str]:
    machine, forward = profile.machine, profile.share("forward")
    used = machine.memory_gib / machine.memory_limit_gib
    if profile.settings.recomputes and used < 0.5:
        yield (
            f"training.activation_checkpointing=false: it repeats the forward pass in backward, about {forward:.0%} of "
            f"the step, and the peak is {used:.0%} of the memory"
        )
    elif not profile.settings.recomputes and used > 0.85:
        yield (
            f"training.activation_checkpointing=true, or a smaller micro_batch: the peak is {used:.0%} of the memory; "
            f"it would cost about {forward:.0%} more time"
        )


def _optimizer(profile: Profile) -> Iterator[str]:
    share, settings = profile.share("optimizer"), profile.settings
    if share >= 2 * _MUCH:
        sharing = ", or training.zero_stage=1, which divides it by the ranks" if settings.ranks > 1 else ""
        yield (
            f"a larger training.global_batch{sharing if settings.zero_stage == 0 else ''}: the update is {share:.0%} "
            "of the step, whatever a step reads"
        )


def _saving(profile: Profile) -> Iterator[str]:
    seconds, every = profile.parts.get("saving", 0.0), profile.settings.save_every
    steps = profile.last - profile.first + 1
    saves = sum(step % every == 0 for step in range(profile.first, profile.last + 1))
    if saves and seconds * steps / saves > _SEEN * every * profile.bare_seconds:
        yield (
            f"a larger checkpoint.save_every: a save held training up for {_time(seconds * steps / saves)}, "
            f"{seconds * steps / saves / (every * profile.bare_seconds):.1%} of {every} steps"
        )


def _crowded(profile: Profile) -> Iterator[str]:
    machine = profile.machine
    if (
        machine.own_busy + machine.others_busy > 0.95 * machine.cores
        and machine.ranks == 1
        and machine.others_busy > 0.5
    ):
        yield (
            f"a quieter machine: other processes (loader workers among them) kept {machine.others_busy:.1f} of "
            f"{machine.cores} cores busy"
        )


def _divisors(number: int) -> list[int]:
    return [candidate for candidate in range(1, number + 1) if number % candidate == 0]


def _time(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{1e3 * seconds:.1f} ms" if seconds >= 1e-3 else f"{1e6 * seconds:.0f} us"
