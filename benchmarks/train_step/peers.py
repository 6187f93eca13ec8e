"""`python -m benchmarks.train_step.peers`: one process that trains transformers' T5 on ready-made batches.

Prints a JSON line: seconds of each step after the warm-up, and how many real tokens it had. bfloat16 autocast over
float32 weights, a tied head, AdamW in its fused form, gradients clipped: what a careful user would run.

    eager             no compiler
    compiled          torch.compile, every batch of one shape
    compiled_dynamic  torch.compile, shapes left open, batches padded to their longest (natural lengths only)
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from transformers import T5Config, T5ForConditionalGeneration

from benchmarks.train_step import corpus
from benchmarks.train_step.device import device_here, memory_of
from data_prep.shards import Dataset
from pipeline.config import load_config
from pipeline.model.config import ModelConfig, padded_vocab_size

NAMES = ("eager", "compiled", "compiled_dynamic")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train_step.peers", description=__doc__)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("kind", choices=corpus.KINDS)
    parser.add_argument("dataset", type=Path)
    for option in ("--window", "--batch", "--threads", "--warm-up", "--steps"):
        parser.add_argument(option, type=int, required=True)
    parser.add_argument("--model", required=True)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    one_shape = given.name == "compiled"
    count = given.warm_up + given.steps
    made = corpus.batches(given.kind, given.dataset, given.window, given.batch, count, one_shape)
    ours = load_config("t5_span", ["data.paths=[none]", f"model={given.model}"]).model
    model = model_like(ours, given.dataset)
    device = device_here()
    batches = [{k: torch.from_numpy(v).to(device) for k, v in batch.items()} for batch in made]
    model.to(device)  # type: ignore[arg-type]
    seconds = _train(model, batches, given.name)
    timed = made[given.warm_up :]
    padded = sum(batch["input_ids"].size + batch["labels"].size for batch in timed)
    real = [corpus.real_tokens(batch) for batch in timed]
    found = {"seconds": seconds[given.warm_up :], "tokens": real, "padding": 1 - sum(real) / padded}
    print(json.dumps(found | memory_of(device)))


def model_like(ours: ModelConfig, dataset: Path) -> T5ForConditionalGeneration:
    """transformers' T5 of that shape with the vocabulary of a dataset, with its own first weights."""
    config = T5Config(  # type: ignore[call-arg]
        vocab_size=padded_vocab_size(Dataset.open(dataset).manifest.tokenizer.vocab_size),
        d_model=ours.d_model, d_kv=ours.d_kv, d_ff=ours.d_ff, num_layers=ours.num_layers, num_heads=ours.num_heads,
        num_decoder_layers=ours.num_layers, feed_forward_proj="gated-gelu", dropout_rate=ours.dropout_rate,
        tie_word_embeddings=True, decoder_start_token_id=0, use_cache=False,
    )  # fmt: skip
    torch.manual_seed(0)
    return T5ForConditionalGeneration(config).train()


def compiled(model: T5ForConditionalGeneration, name: str) -> Any:
    """What is called for a loss, by the contender's name."""
    return model if name == "eager" else torch.compile(model, dynamic=name == "compiled_dynamic")


def backward(forward: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """The loss of a batch, whose gradients are added to those of the model."""
    with torch.autocast(batch["labels"].device.type, torch.bfloat16):
        loss: torch.Tensor = forward(**batch).loss
    loss.backward()
    return loss


def _train(model: T5ForConditionalGeneration, batches: list[dict[str, torch.Tensor]], name: str) -> list[float]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01, fused=True)
    forward = compiled(model, name)
    seconds = []
    for batch in batches:
        started = time.perf_counter()
        loss = backward(forward, batch)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()
        seconds.append(time.perf_counter() - started)
    return seconds


if __name__ == "__main__":
    main()
