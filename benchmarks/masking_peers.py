"""The masking algorithms of others, written from their description, to be measured beside ours.

`t5_collator`        Hugging Face's T5 collator, which nanoT5 has too: per example two shuffled 0/1 arrays and segment
                     sums, then sentinel ids and filters over the padded batch
`retromae_collator`  RetroMAE and DupMAE: per example whole-word masks drawn in Python over the tokens' spellings, one
                     for the encoder and 256 for the rows of the decoder's attention, which becomes an [L, L] matrix
"""

import random

import numpy as np

Array = np.ndarray
DECODER_MASKS = 256


def t5_collator(tokens: Array, noise_density: float, mean_span_length: float, sentinel: int, eos: int) -> tuple:
    """Encoder input, labels and decoder input of tokens [B, L]."""
    mask = np.stack([_noise_mask(tokens.shape[1], noise_density, mean_span_length) for _ in tokens])
    encoder = _filtered(tokens, _sentinels(mask, sentinel), eos)
    labels = _filtered(tokens, _sentinels(~mask, sentinel), eos)
    decoder = np.zeros_like(labels)
    decoder[:, 1:] = labels[:, :-1]
    return encoder, labels, decoder


def _noise_mask(length: int, noise_density: float, mean_span_length: float) -> Array:
    num_noise = min(max(round(length * noise_density), 1), length - 1)
    num_spans = max(round(num_noise / mean_span_length), 1)
    noise, rest = _segments(num_noise, num_spans), _segments(length - num_noise, num_spans)
    lengths = np.stack([rest, noise], axis=1).reshape(2 * num_spans)
    starts = np.zeros(length, np.int8)
    starts[np.cumsum(lengths)[:-1]] = True
    return np.cumsum(starts) % 2 == 1


def _segments(num_items: int, num_segments: int) -> Array:
    is_start = np.arange(num_items - 1) < num_segments - 1
    np.random.shuffle(is_start)
    _, lengths = np.unique(np.cumsum(np.pad(is_start, [[1, 0]])), return_counts=True)
    return lengths


def _sentinels(mask: Array, sentinel: int) -> Array:
    mask = mask.astype(np.int8)
    starts = mask - np.roll(mask, 1, axis=-1) * mask
    starts[:, 0] = mask[:, 0]
    numbers = np.where(starts != 0, np.cumsum(starts, axis=-1), starts)
    return np.where(numbers != 0, sentinel - 1 + numbers, 0) - (mask - starts)


def _filtered(tokens: Array, sentinels: Array, eos: int) -> Array:
    filled = np.where(sentinels != 0, sentinels, tokens)
    kept = filled[filled >= 0].reshape(len(tokens), -1)
    return np.concatenate([kept, np.full((len(tokens), 1), eos)], axis=-1)


def retromae_collator(
    tokens: list[int], spellings: list[str], mask_token: int, encoder_rate: float, decoder_rate: float
) -> tuple:
    """Encoder input and labels, and the decoder's attention matrix, of one example."""
    length = len(tokens)
    masked = _whole_word_mask(spellings, encoder_rate)
    encoder = np.where(masked, mask_token, tokens)
    labels = np.where(masked, tokens, -100)
    masks = np.array([_whole_word_mask(spellings, decoder_rate) for _ in range(min(length, DECODER_MASKS))])
    visible = 1 - masks[np.arange(length) % len(masks)]
    visible[np.arange(length), np.arange(length)] = 0
    visible[:, 0] = 1
    return encoder, labels, visible


def _whole_word_mask(spellings: list[str], rate: float) -> list[int]:
    words: list[list[int]] = []
    for index, spelling in enumerate(spellings):
        if spelling in ("[CLS]", "[SEP]"):
            continue
        if words and spelling.startswith("##"):
            words[-1].append(index)
        else:
            words.append([index])
    random.shuffle(words)
    wanted, chosen = max(1, round(len(spellings) * rate)), set[int]()
    for word in words:
        if len(chosen) >= wanted:
            break
        if len(chosen) + len(word) > wanted or any(index in chosen for index in word):
            continue
        chosen.update(word)
    return [1 if index in chosen else 0 for index in range(len(spellings))]
