"""What a trained model does for its user: give it a text with gaps, get the gaps filled.

The exported model writes one span after the other: the decoder has been given `<extra_id_0> span 0 <extra_id_1> ...` so
far and continues greedily until it writes any sentinel or the end, or a span is long enough. An encoder gets a mask for
each token of a gap instead, and takes the likeliest token at each.
"""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from data_prep.errors import InputError
from data_prep.tokenizer.special import NUM_SENTINELS
from pipeline.export.libraries import quiet_transformers

_GAP = re.compile(r"<extra_id_(\d+)>")


@dataclass(frozen=True)
class FilledIn:
    """A text with its gaps, the spans the model wrote, and the text with the spans in place."""

    prompt: str
    spans: tuple[str, ...]
    text: str


def fill_in(folder: Path, prompts: Sequence[str], max_span_tokens: int = 16) -> list[FilledIn]:
    """Fill the gaps `<extra_id_0>`, `<extra_id_1>`, ... of each prompt with the model exported to `folder`.

    Raises InputError for a prompt without gaps, or whose gaps are not numbered 0, 1, 2, ... in order.
    """
    transformers = quiet_transformers()
    gaps = [_gaps(prompt) for prompt in prompts]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.T5ForConditionalGeneration.from_pretrained(folder).eval()
    return [
        _fill_one(model, tokenizer, prompt, names, max_span_tokens) for prompt, names in zip(prompts, gaps, strict=True)
    ]


@torch.no_grad()
def fill_in_masks(folder: Path, parts: Sequence[Sequence[int]], head: Sequence[int], tail: Sequence[int]) -> list[str]:
    """What the encoder exported to `folder` puts into the gaps of a text that stands between `head` and `tail`.

    `parts` are token ids: shown, hidden, shown, hidden, ..., shown; the hidden ones only say how long the gaps are.
    """
    transformers = quiet_transformers()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForMaskedLM.from_pretrained(folder).eval()
    seen = [[tokenizer.mask_token_id] * len(part) if hidden % 2 else list(part) for hidden, part in enumerate(parts)]
    ids = [*head, *itertools.chain(*seen), *tail]
    likeliest = model(input_ids=torch.tensor([ids])).logits[0].argmax(-1).tolist()
    starts = itertools.accumulate(map(len, parts), initial=len(head))
    gaps = list(zip(starts, parts, strict=False))[1::2]
    return [tokenizer.decode(likeliest[start : start + len(part)], skip_special_tokens=True) for start, part in gaps]


def _gaps(prompt: str) -> list[str]:
    numbers = [int(number) for number in _GAP.findall(prompt)]
    if not numbers or numbers != list(range(len(numbers))) or len(numbers) > NUM_SENTINELS:
        raise InputError(
            f"cannot fill in {prompt[:60]!r}: its gaps must be <extra_id_0>, <extra_id_1>, ... in this order, "
            f"at least one and at most {NUM_SENTINELS}"
        )
    return [f"<extra_id_{number}>" for number in numbers]


@torch.no_grad()
def _fill_one(model: Any, tokenizer: Any, prompt: str, gaps: list[str], max_span_tokens: int) -> FilledIn:
    source = tokenizer(prompt, return_tensors="pt").input_ids
    stops = [
        tokenizer.eos_token_id,
        *tokenizer.convert_tokens_to_ids([f"<extra_id_{i}>" for i in range(NUM_SENTINELS)]),
    ]
    written = [model.config.decoder_start_token_id]
    spans = []
    for gap in gaps:
        written.append(tokenizer.convert_tokens_to_ids(gap))
        output = model.generate(
            input_ids=source,
            attention_mask=torch.ones_like(source),
            decoder_input_ids=torch.tensor([written]),
            max_new_tokens=max_span_tokens,
            do_sample=False,
            eos_token_id=stops,
        )
        span = [token for token in output[0, len(written) :].tolist() if token not in stops]
        spans.append(tokenizer.decode(span, skip_special_tokens=True))
        written += span
    text = _GAP.sub(lambda match: spans[int(match[1])], prompt)
    return FilledIn(prompt, tuple(spans), text)
