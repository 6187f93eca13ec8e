"""Attention with a learned relative bias, forward and forward + backward, bfloat16, beside what others use.

1. Contenders get the same numbers, in the layout a model's projections give. `ours` takes flat rows and the bias by
   relative position; `eager` is the computation of transformers' T5 (products, bias, float32 softmax, products, with
   autograd), `sdpa_bias` torch's attention with the bias as a mask that needs a gradient; both get the dense bias ready
   made, as T5 computes it once for all layers. `sdpa_nobias` adds no bias. Ragged sequences are padded for them.
   `ours_fire` is ours with FIRE's bias (32 hidden units) instead of the table; `ours_fire_far` that of a causal stack
   beyond FIRE's threshold (here 64), where every row measures distances by its own position.
2. In each round every contender runs once, and a 2048^3 matrix product, in CPU seconds. Ratios are medians over rounds.
   With `--device cuda` each runs for a tenth of a second, in the device's own seconds, beside an 8192^3 product.
3. FLOPs are those of the two products over the pairs that see each other, times 3 with backward, for everyone.
4. `fwdbwd_most_vs_eager` is what no kernel of this kind can exceed on this machine: 6 / 7 of the product's rate over
   eager's. Memory linear in the rows means that backward makes the scores once more: 7 products where 6 are counted.

The goals of `encoder_b8_h6_l512` have no suffix; the other workloads' ratios and goals carry their name.
"""

import argparse
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch.nn import functional

from benchmarks import frame
from benchmarks.attention_workloads import GOALS, HEAD_DIM, WORKLOADS, Workload, goals_of, suffix_of
from pipeline.batch import Batch
from pipeline.kernels.attention import IntervalPattern, RelativeBias, attention, cpu
from pipeline.model.config import ModelConfig
from pipeline.model.initialisation import initialise
from pipeline.model.position_config import FirePositions
from pipeline.model.positions.fire import Fire

MATMUL_SIZES = {"cpu": 2048, "cuda": 8192}
REACH = 128
PARTS = ("fwd", "fwdbwd")
Forward = Callable[[], torch.Tensor]
Work = Callable[[str], object]


def measure(given: argparse.Namespace) -> frame.Outcome:
    """Run the rounds of each workload."""
    torch.set_num_threads(given.threads)
    torch.set_default_device(given.device)
    torch.manual_seed(0)
    timed = frame.interleaved if given.device == "cpu" else _by_the_device
    rates: dict[str, dict[str, float]] = {}
    ratios: dict[str, float | None] = dict.fromkeys(GOALS)
    for name in given.workloads:
        frame.note(name)
        workload = WORKLOADS[name].scaled(given.shrink, given.copies)
        seconds = timed(_contenders(workload), PARTS, given.rounds)
        rates[name] = _rates(seconds, workload)
        found = _ratios(seconds, workload).items()
        ratios |= {f"{ratio}{suffix_of(name)}": round(value, 3) for ratio, value in found}
    figures = {
        "gflop_per_s": rates,
        "threads": given.threads,
        "rounds": given.rounds,
        "lengths_divided_by": given.shrink,
        "times_the_sequences": given.copies,
        "kernel": _kernel(given.device),
    }
    name = "attention" if given.device == "cpu" else f"attention_{given.device}"
    return frame.Outcome(name, figures, ratios, goals_of(given.workloads, ratios), libraries=("torch",))


def _kernel(device: str) -> str:
    if device == "cuda":
        return torch.cuda.get_device_name()
    return cpu.best_instructions() if cpu.is_available() else "reference"


def _by_the_device(
    contenders: Mapping[str, Callable[[], Work]], parts: Sequence[str], rounds: int
) -> dict[str, dict[str, list[float]]]:
    """As `frame.interleaved`, in seconds of the device."""
    from triton.testing import do_bench  # wants a GPU

    works = {name: contender() for name, contender in contenders.items()}
    seconds: dict[str, dict[str, list[float]]] = {part: {name: [] for name in works} for part in parts}
    for _ in range(rounds):
        for name, work in works.items():
            for part in parts:
                seconds[part][name].append(do_bench(partial(work, part), return_mode="median") / 1e3)
    return seconds


def _contenders(workload: Workload) -> dict[str, Callable[[], Work]]:
    size = _matmul_size()
    left, right = (torch.randn(size, size).bfloat16() for _ in range(2))
    calls = {"ours": _ours(workload), **_ours_with_fire(workload), **_others(workload)}
    works: dict[str, Work] = {name: _work(forward, leaves) for name, (forward, leaves) in calls.items()}
    works["matmul"] = lambda _: torch.mm(left, right)
    return {name: partial(_warm, work) for name, work in works.items()}


def _work(forward: Forward, leaves: list[torch.Tensor]) -> Work:
    weights = torch.randn_like(forward())

    def run(part: str) -> None:
        if part == "fwdbwd":
            torch.autograd.grad(forward(), leaves, weights)
        else:
            with torch.no_grad():
                forward()

    return run


def _warm(work: Work) -> Work:
    for part in PARTS:
        work(part)
    return work


def _leaf(*shape: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    return torch.randn(*shape).to(dtype).requires_grad_()


def _ours(workload: Workload) -> tuple[Forward, list[torch.Tensor]]:
    cu_q, cu_k = (_boundaries(lengths) for lengths in (workload.lengths, workload.key_lengths))
    num_queries, num_keys = int(cu_q[-1]), int(cu_k[-1])
    q, k, v = (_leaf(rows, workload.num_heads, HEAD_DIM) for rows in (num_queries, num_keys, num_keys))
    pattern = (
        IntervalPattern.causal(cu_q, num_queries)
        if workload.kind == "causal"
        else IntervalPattern.full(cu_q, num_queries, cu_k, num_keys)
    )
    if workload.kind == "cross":
        return lambda: attention(q, k, v, cu_q, cu_k, pattern), [q, k, v]
    values = _leaf(workload.num_heads, 2 * REACH + 1, dtype=torch.float32)
    return lambda: attention(q, k, v, cu_q, cu_k, pattern, RelativeBias(values)), [q, k, v, values]


def _ours_with_fire(workload: Workload) -> dict[str, tuple[Forward, list[torch.Tensor]]]:
    if workload.kind == "cross":
        return {}
    config = ModelConfig(d_model=64, d_ff=64, num_layers=1, num_heads=workload.num_heads)
    num_rows, cu_seqlens = sum(workload.lengths), _boundaries(workload.lengths)
    positions = torch.cat([torch.arange(length, dtype=torch.int32) for length in workload.lengths])
    names = torch.zeros(num_rows, dtype=torch.int32)
    view = Batch(names, positions, cu_seqlens, sample_rows=names, sample_positions=names)
    is_causal = workload.kind == "causal"
    make = (
        IntervalPattern.causal
        if is_causal
        else partial(IntervalPattern.full, cu_seqlens_k=cu_seqlens, num_keys=num_rows)
    )
    pattern = make(cu_seqlens, num_rows)
    q, k, v = (_leaf(num_rows, workload.num_heads, HEAD_DIM) for _ in range(3))
    found: dict[str, tuple[Forward, list[torch.Tensor]]] = {}
    for name, threshold in (("ours_fire", 512.0), ("ours_fire_far", 64.0))[: 2 if is_causal else 1]:
        with torch.device("cpu"):  # where the generators of first weights are
            fire = Fire(FirePositions(threshold=threshold), workload.num_heads, not is_causal)
            initialise(fire, config, 1)
        fire.to(torch.get_default_device())

        def forward(fire: Fire = fire) -> torch.Tensor:
            return attention(q, k, v, cu_seqlens, cu_seqlens, pattern, fire.bias(view))

        found[name] = forward, [q, k, v, *fire.parameters()]
    return found


def _others(workload: Workload) -> dict[str, tuple[Forward, list[torch.Tensor]]]:
    batch, longest, longest_key = len(workload.lengths), max(workload.lengths), max(workload.key_lengths)
    q, k, v = (_leaf(batch, rows, workload.num_heads, HEAD_DIM) for rows in (longest, longest_key, longest_key))
    mask = _mask(workload)
    bias = _leaf(1, workload.num_heads, longest, longest_key)
    biases = [] if workload.kind == "cross" else [bias]

    def heads() -> tuple[torch.Tensor, ...]:
        return tuple(x.transpose(1, 2) for x in (q, k, v))

    def dense_bias() -> torch.Tensor | None:
        if not biases:
            return mask
        return bias if mask is None else bias + mask

    def eager() -> torch.Tensor:
        query, key, value = heads()
        scores, added = torch.matmul(query, key.transpose(2, 3)), dense_bias()
        if added is not None:
            scores = scores + added
        weights = functional.softmax(scores.float(), dim=-1).type_as(scores)
        return torch.matmul(weights, value).transpose(1, 2)

    def sdpa(added: torch.Tensor | None, causal: bool) -> torch.Tensor:
        query, key, value = heads()
        out = functional.scaled_dot_product_attention(query, key, value, attn_mask=added, is_causal=causal, scale=1.0)
        return out.transpose(1, 2)

    def sdpa_bias() -> torch.Tensor:
        return sdpa(dense_bias(), causal=False)

    def sdpa_nobias() -> torch.Tensor:
        causal = workload.kind == "causal"
        return sdpa(None if causal else mask, causal)

    leaves = [q, k, v]
    dense = {"eager": (eager, [*leaves, *biases]), "sdpa_nobias": (sdpa_nobias, leaves)}
    return {**dense, "sdpa_bias": (sdpa_bias, [*leaves, *biases])} if biases else dense


def _mask(workload: Workload) -> torch.Tensor | None:
    """What the padded layouts add to hide keys: causality, padding; None where nothing is hidden."""
    longest, longest_key = max(workload.lengths), max(workload.key_lengths)
    if workload.kind == "causal":
        hidden = torch.ones(longest, longest_key, dtype=torch.bool).triu(1)
        return torch.zeros(1, 1, longest, longest_key).masked_fill(hidden, -math.inf).bfloat16()
    lengths = torch.tensor(workload.key_lengths)
    if int(lengths.min()) == longest_key:
        return None
    hidden = torch.arange(longest_key) >= lengths[:, None]
    return torch.zeros(len(lengths), 1, 1, longest_key).masked_fill(hidden[:, None, None], -math.inf).bfloat16()


def _matmul_size() -> int:
    return MATMUL_SIZES[torch.get_default_device().type]


def _boundaries(lengths: tuple[int, ...]) -> torch.Tensor:
    return torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()], dtype=torch.int32)


def _flops(part: str, name: str, workload: Workload) -> float:
    if name == "matmul":
        return 2.0 * _matmul_size() ** 3
    return workload.flops * (3.0 if part == "fwdbwd" else 1.0)


def _rates(seconds: dict[str, dict[str, list[float]]], workload: Workload) -> dict[str, float]:
    """GFLOP/s by part and contender: medians over the rounds."""
    return {
        f"{part}_{name}": round(_flops(part, name, workload) / statistics.median(times) / 1e9, 1)
        for part, contenders in seconds.items()
        for name, times in contenders.items()
    }


def _ratios(seconds: dict[str, dict[str, list[float]]], workload: Workload) -> dict[str, float]:
    """Ours against each other, and as a share of the matrix product's rate."""
    found: dict[str, float] = {}
    for part, contenders in seconds.items():
        ours = contenders.pop("ours")
        per_flop = _flops(part, "ours", workload) / _flops(part, "matmul", workload)
        at_full_rate = [taken * per_flop for taken in contenders.pop("matmul")]
        found |= {f"{part}_vs_{name}": frame.median_ratio(times, ours) for name, times in contenders.items()}
        if part == "fwdbwd":
            found["fwdbwd_most_vs_eager"] = 6 / 7 * frame.median_ratio(contenders["eager"], at_full_rate)
        found[f"{part}_share_of_matmul"] = frame.median_ratio(at_full_rate, ours)
    return found


def arguments() -> argparse.ArgumentParser:
    """The command line, without what every benchmark has."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attention", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workloads", nargs="+", default=list(WORKLOADS), choices=list(WORKLOADS), help="default: all")
    parser.add_argument("--device", default="cpu", choices=list(MATMUL_SIZES))
    parser.add_argument("--copies", type=int, default=1, metavar="N", help="N times the sequences (a GPU wants more)")
    parser.add_argument("--shrink", type=int, default=1, metavar="N", help="divide all lengths by N, to try it out")
    return parser


if __name__ == "__main__":
    frame.main(arguments(), measure)
