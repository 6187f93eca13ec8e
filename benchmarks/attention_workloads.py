"""What `benchmarks.attention` measures, and what is wanted of it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

HEAD_DIM = 64
# Forward and backward with a learned bias: how many times as fast as others, and the share of a matrix product's rate.
GOALS = {"fwdbwd_vs_eager": 4.0, "fwdbwd_vs_sdpa_nobias": 2.0, "fwdbwd_share_of_matmul": 0.4}


@dataclass(frozen=True)
class Workload:
    """Sequences of one attention call; `kind` is encoder, causal (both self-attention with bias) or cross (without)."""

    kind: str
    num_heads: int
    lengths: tuple[int, ...]  # of the queries
    key_lengths: tuple[int, ...]

    @property
    def flops(self) -> float:
        """Of a forward."""
        pairs = sum(q * k for q, k in zip(self.lengths, self.key_lengths, strict=True))
        return 4.0 * HEAD_DIM * self.num_heads * pairs * (0.5 if self.kind == "causal" else 1.0)

    def scaled(self, divisor: int, copies: int) -> "Workload":
        """So many times the sequences, with lengths divided, rounded up."""
        lengths, key_lengths = (tuple(-(-n // divisor) for n in by) * copies for by in (self.lengths, self.key_lengths))
        return replace(self, lengths=lengths, key_lengths=key_lengths)


def _even(kind: str, batch: int, num_heads: int, length: int, key_length: int | None = None) -> Workload:
    return Workload(kind, num_heads, (length,) * batch, (key_length or length,) * batch)


MAIN, SHORT, LONG = "encoder_b8_h6_l512", "encoder_b8_h12_l512", "encoder_b2_h12_l2048"
RAGGED = (512, 37, 300, 150, 480, 90, 411, 222, 64, 505, 130, 350, 18, 260, 444, 123)
WORKLOADS = {
    MAIN: _even("encoder", 8, 6, 512),
    SHORT: _even("encoder", 8, 12, 512),
    LONG: _even("encoder", 2, 12, 2048),
    "causal_b8_h6_l512": _even("causal", 8, 6, 512),
    "cross_b8_h6_l128_l512": _even("cross", 8, 6, 128, 512),
    "ragged_encoder_b16_h6": Workload("encoder", 6, RAGGED, RAGGED),
}


def suffix_of(name: str) -> str:
    """What the names of a workload's ratios end with."""
    return "" if name == MAIN else f"_{name}"


def goals_of(names: Iterable[str], ratios: Mapping[str, float | None]) -> dict[str, float]:
    """The goals of these workloads, and always the main one's; eager's needs a bias, which cross attention lacks.

    Long sequences are to gain more: at least what the short ones with as many heads reached in the same run.
    """
    goals = {
        f"{ratio}{suffix_of(name)}": goal
        for name in dict.fromkeys((MAIN, *names))
        for ratio, goal in GOALS.items()
        if WORKLOADS[name].kind != "cross" or ratio != "fwdbwd_vs_eager"
    }
    for ratio in GOALS:
        reached, name = ratios.get(f"{ratio}{suffix_of(SHORT)}"), f"{ratio}{suffix_of(LONG)}"
        if reached is not None and name in goals:
            goals[name] = max(goals[name], reached)
    return goals
