"""A plan: what one run takes on N GPUs. From the run's config, the GPU's datasheet and a stated share of its peak."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from data_prep.errors import InputError
from launch.planning import formulas
from launch.planning.formulas import Shape
from launch.planning.hardware import DISK_GB_PER_SECOND, Gpu
from launch.stage_actions import existing_dataset
from launch.terminal import count
from pipeline.config import RunConfig
from pipeline.model.config import count_parameters

_USABLE = 0.9  # of a GPU's memory: the rest is the allocator's, NCCL's and the CUDA context
_CHUNK_BYTES = 1 << 20
_DAY = 86400.0


@dataclass(frozen=True)
class Assumptions:
    """What a plan takes for granted; it is printed with it."""

    gpus: int
    gpus_per_node: int
    mfu: float
    """Share of the GPU's peak that the whole step reaches while it computes."""
    network_gb_per_second: float
    """Per GPU, one direction, between nodes."""


@dataclass(frozen=True)
class Plan:
    """Figures in bytes, FLOPs, tokens and seconds."""

    parameters: int
    flops_per_step: int
    state_bytes: dict[int, int]
    """Per GPU, by ZeRO stage."""
    activation_bytes: int
    """Per GPU, of a micro-batch of one sample, with the config's activation checkpointing."""
    largest_micro_batch: int
    """That fits beside the state of the config's ZeRO stage; 0: none."""
    micro_batch: int
    accumulation: int
    link_bytes_per_step: float
    compute_seconds: float
    link_seconds: float
    step_seconds: float
    tokens_per_second: float
    """Raw tokens, of all windows."""
    tokens: int
    days: float
    shard_bytes_per_second: float
    shard_requests_per_second: float
    """Range requests of one chunk, if every chunk is read once per pass over the data."""
    checkpoint_bytes: int
    checkpoint_seconds: float
    limits: str
    """What the step's time is: compute or links; memory where nothing fits."""


def make_plan(config: RunConfig, vocab_size: int, gpu: Gpu, assumed: Assumptions) -> Plan:
    """The plan of `config` on `assumed.gpus` GPUs. InputError where they cannot share the global batch.

    Steps are those of the first phase; tokens and days are those of the whole run.
    """
    phases = config.in_phases()
    stops = [*(step for step, _ in phases[1:]), config.training.steps]
    plans = [
        _phase_plan(phase, range(first, stop), vocab_size, gpu, assumed)
        for (first, phase), stop in zip(phases, stops, strict=True)
    ]
    return replace(plans[0], tokens=sum(plan.tokens for plan in plans), days=sum(plan.days for plan in plans))


def _phase_plan(config: RunConfig, steps: range, vocab_size: int, gpu: Gpu, assumed: Assumptions) -> Plan:
    training, model = config.training, config.model
    shape = shape_of(config)
    parameters = count_parameters(model, vocab_size)
    largest = formulas.largest_layer(model, vocab_size)
    moments = formulas.moment_bytes(model, parameters, training.optimizer)
    states = {stage: formulas.state_bytes(parameters, largest, stage, assumed.gpus, moments) for stage in range(4)}
    per_sample = formulas.activation_bytes(model, shape, training.activation_checkpointing)
    room = _USABLE * gpu.memory_gb * 1e9 - states[training.zero_stage]
    fits = max(0, int(room // per_sample))
    micro_batch, accumulation = _micro_batch(training.global_batch, assumed.gpus, fits)

    forward = _forward_flops(config, steps, vocab_size, shape)
    flops = training.global_batch * forward * (1 + formulas.BACKWARD)
    again = training.global_batch * forward if training.activation_checkpointing else 0  # forward once more
    compute = (flops + again) / (assumed.gpus * gpu.bf16_tflops * 1e12 * assumed.mfu)
    moved = formulas.link_bytes(parameters, training.zero_stage, assumed.gpus, accumulation)
    links = moved / (_speed(gpu, assumed) * 1e9)
    step = max(compute, links)  # collectives run beside the computation

    tokens_per_step = training.global_batch * config.stream.window
    token_bytes = 2 if vocab_size <= 1 << 16 else 4
    read = tokens_per_step * token_bytes / step
    size = formulas.checkpoint_bytes(model, parameters, training.optimizer)
    nodes = -(-assumed.gpus // assumed.gpus_per_node)
    return Plan(
        parameters=parameters,
        flops_per_step=flops,
        state_bytes=states,
        activation_bytes=per_sample,
        largest_micro_batch=fits,
        micro_batch=micro_batch,
        accumulation=accumulation,
        link_bytes_per_step=moved,
        compute_seconds=compute,
        link_seconds=links,
        step_seconds=step,
        tokens_per_second=tokens_per_step / step,
        tokens=len(steps) * tokens_per_step,
        days=len(steps) * step / _DAY,
        shard_bytes_per_second=read,
        shard_requests_per_second=read / _CHUNK_BYTES,
        checkpoint_bytes=size,
        checkpoint_seconds=size / (DISK_GB_PER_SECOND * 1e9 * nodes),
        limits="memory" if not fits else "links" if links > compute else "compute",
    )


def _forward_flops(config: RunConfig, steps: range, vocab_size: int, shape: Shape) -> int:
    """Of a sample, on average over these steps."""
    model, ltd = config.model, config.training.random_ltd
    total = sum(
        count * formulas.forward_flops(model, vocab_size, shape, share)
        for share, count in (ltd.shares(steps.start, steps.stop) if ltd else [(1.0, len(steps))])
    )
    return round(total / len(steps))


def shape_of(config: RunConfig) -> Shape:
    """The rows of one sample."""
    window, pieces = config.stream.window, config.stream.max_pieces
    rows = config.corruption.max_rows(window, pieces)
    encoder = rows.get("encoder", 0) or next(iter(rows.values()))
    decoder = rows.get("decoder", 0) if config.model.layers.has_decoder else 0
    return Shape(encoder, decoder, config.corruption.max_targets(window, pieces))


def vocab_size_of(config: RunConfig) -> int:
    """The vocabulary of the dataset, where it is prepared; else what the config asks for."""
    found = existing_dataset(config)
    return found["vocab_size"] if found else config.data.tokenizer.vocab_size


def plan_lines(plan: Plan, config: RunConfig, gpu: Gpu, assumed: Assumptions) -> Iterator[tuple[str, str]]:
    """The plan for a person, a name and a figure at a time; what is assumed comes first."""
    yield (
        "assumed",
        f"{assumed.gpus} x {gpu.name}, {gpu.bf16_tflops:.0f} TFLOP/s bf16, {gpu.memory_gb:.0f} GB ({gpu.source})",
    )
    yield "", f"{assumed.mfu:.0%} of the peak; {_speed(gpu, assumed):.0f} GB/s per GPU on the slowest link"
    yield "parameters", f"{plan.parameters:,}"
    mean = "the mean, as training.random_ltd goes on; " if config.training.random_ltd else ""
    yield "FLOPs per step", f"{plan.flops_per_step:.3g} ({mean}windows of one document each; packed ones need less)"
    for stage, size in plan.state_bytes.items():
        chosen = "  (training.zero_stage)" if stage == config.training.zero_stage else ""
        yield f"state, ZeRO-{stage}", f"{size / 1e9:.2f} GB per GPU{chosen}"
    yield "activations", f"{plan.activation_bytes / 1e9:.3f} GB per sample of a micro-batch"
    fits = plan.largest_micro_batch or "none fits: a higher zero_stage, more GPUs, activation_checkpointing=true"
    yield "largest micro-batch", f"{fits}"
    parts = f"{plan.micro_batch} x {assumed.gpus} GPUs x {plan.accumulation} accumulated"
    yield "micro-batch", f"{parts} = {config.training.global_batch} samples a step"
    sent = f"{plan.link_bytes_per_step / 1e9:.2f} GB sent per GPU"
    compute = f"compute {plan.compute_seconds:.3g} s"
    yield "step", f"{plan.step_seconds:.3g} s: {compute} beside links {plan.link_seconds:.3g} s ({sent})"
    yield "speed", f"{count(plan.tokens_per_second)} tokens/s"
    yield "whole run", f"{count(plan.tokens)} tokens in {config.training.steps:,} steps: {plan.days:.2f} days"
    requests = f"{plan.shard_requests_per_second:.1f} requests/s to an object store"
    yield "reading shards", f"{plan.shard_bytes_per_second / 1e6:.2f} MB/s, {requests}"
    written = f"{plan.checkpoint_seconds:.1f} s at {DISK_GB_PER_SECOND:.0f} GB/s per node"
    yield "checkpoint", f"{plan.checkpoint_bytes / 1e9:.2f} GB, {written}"
    yield "limited by", plan.limits


def plan_json(plan: Plan, gpu: Gpu, assumed: Assumptions) -> dict[str, Any]:
    """The plan for programs."""
    return {"gpu": gpu._asdict(), "assumed": asdict(assumed), **asdict(plan)}


def _speed(gpu: Gpu, assumed: Assumptions) -> float:
    """GB/s of the slowest link in a ring over all GPUs."""
    return gpu.link_gb_per_second if assumed.gpus <= assumed.gpus_per_node else assumed.network_gb_per_second


def _micro_batch(global_batch: int, gpus: int, fits: int) -> tuple[int, int]:
    """The largest micro-batch that fits and divides, and the accumulation steps that it needs."""
    if global_batch % gpus:
        raise InputError(
            f"--gpus: {gpus} ranks cannot share training.global_batch={global_batch}: give a number of GPUs that "
            "divides it, or another batch (training.global_batch=...)"
        )
    per_gpu = global_batch // gpus
    micro_batch = next((size for size in range(min(per_gpu, fits), 0, -1) if per_gpu % size == 0), 1)
    return micro_batch, per_gpu // micro_batch
