"""One rank of test_exchange.py: a small module under ZeRO 1 and 2 in bfloat16, by sending or in DeepSpeed's own way."""

import json
import sys
from pathlib import Path
from unittest import mock

import torch

from pipeline.training import engine as engine_module
from pipeline.training import exchange
from pipeline.training.config import TrainingConfig
from pipeline.training.engine import Engine
from pipeline.training.rank import Rank, join_process_group, rank_from_environment, set_threads
from tests.pipeline.training.engine_rank import STEPS, Toy, micro_batch


def weights_after_each_step(stage: int, rank: Rank) -> list[list[str]]:
    """Numbers in hex of every parameter, and the norm of the gradient."""
    config = TrainingConfig(steps=STEPS, global_batch=4, micro_batch=1, ranks=2, zero_stage=stage)
    engine, steps = Engine(Toy(), config, rank), []
    for step in range(STEPS):
        for number in range(2):
            total, _ = engine.forward(micro_batch(step, 2 * number + rank.index))["ce"]
            engine.backward(total / 40, last=number == 1)
        norm = engine.step(1e-2)
        numbers = torch.cat([parameter.detach().float().flatten() for _, parameter in engine.parameters()])
        steps.append([norm.hex(), *(number.hex() for number in numbers.tolist())])
    return steps


def main() -> None:
    rank = rank_from_environment()
    set_threads(rank, 1)
    join_process_group(rank)
    if sys.argv[2] == "deepspeed":
        mock.patch.object(engine_module, "exchange_by_sending", return_value=None).start()
    sums = mock.patch.object(exchange, "sum_parts", side_effect=exchange.sum_parts).start()
    steps = [step for stage in (1, 2) for step in weights_after_each_step(stage, rank)]
    if rank.is_first:
        Path(sys.argv[1]).write_text(json.dumps({"sums": sums.call_count, "steps": steps}))


if __name__ == "__main__":
    main()
