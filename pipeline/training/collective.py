"""What ranks tell each other besides tensors: numbers to add up, small JSON values, and whether all is well.

Invariant: every rank makes the same calls in the same order. Values travel as JSON bytes; nothing is pickled. A thread
beside training uses a process group of its own (`group`), whose calls have an order of their own.
"""

import json
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist

from data_prep.errors import InputError, SpanwrightError


def sum_integers(values: Sequence[int]) -> list[int]:
    """Elementwise sum over the ranks."""
    total = torch.tensor(values, dtype=torch.int64)
    dist.all_reduce(total)
    return total.tolist()


def sum_floats(values: Sequence[float]) -> list[float]:
    """Elementwise float64 sum over the ranks."""
    total = torch.tensor(values, dtype=torch.float64)
    dist.all_reduce(total)
    return total.tolist()


Group = dist.ProcessGroup | None


def gather_json(value: Any, group: Group = None) -> list[Any]:
    """The JSON values of all ranks, in rank order."""
    data = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
    sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(dist.get_world_size())]
    dist.all_gather(sizes, torch.tensor([len(data)]), group)
    longest = max(int(size) for size in sizes)
    padded = torch.nn.functional.pad(data, (0, longest - len(data)))
    parts = [torch.zeros(longest, dtype=torch.uint8) for _ in sizes]
    dist.all_gather(parts, padded, group)
    return [json.loads(bytes(part[: int(size)].tolist())) for part, size in zip(parts, sizes, strict=True)]


def share_json(value: Any) -> Any:
    """Rank 0's JSON value (the others' is ignored)."""
    return gather_json(value if dist.get_rank() == 0 else None)[0]


def raise_together(error: BaseException | None, group: Group = None) -> None:
    """Raise on every rank when one has an error, so that none waits for the others."""
    mine = None if error is None else [getattr(error, "exit_code", 1), str(error) or type(error).__name__]
    found = next((theirs for theirs in gather_json(mine, group) if theirs is not None), None)
    if isinstance(error, SpanwrightError):
        raise error
    if found is not None:
        exit_code, message = found
        raise (InputError if exit_code == InputError.exit_code else SpanwrightError)(message) from error
