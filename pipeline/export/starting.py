"""A Hugging Face checkpoint as a run's first weights: the layouts of exports, read backwards.

Invariants: only safetensors are read, nothing is unpickled; every parameter of the model has its tensor there, and the
checkpoint computes what our config says. With the checkpoint's own tokenizer the run's logits before its first step are
the checkpoint's (a test compares them). With another one each token's row is that of the same piece there, or the mean
of the rows of what that tokenizer makes of it ("fast vocabulary transfer", Gee et al. 2022, section 3.2).
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from data_prep.errors import InputError, SpanwrightError
from data_prep.tokenizer import Tokenizer
from data_prep.tokenizer.special import NAMED_PIECES, SENTINEL_PIECES
from data_prep.tokenizer.tokenizer import MODEL_NAME, WORD_MARK
from pipeline.checkpoint.origin import take_tensors
from pipeline.config import RunConfig
from pipeline.export.folder import read_stored, read_tensor
from pipeline.export.layouts import OBJECTIVE_PREFIX, layout_of, stock_tensors, taken_apart
from pipeline.export.libraries import quiet_transformers
from pipeline.export.materialise import parameters_on_meta
from pipeline.model.config import ModelConfig, padded_vocab_size
from pipeline.model.encoder_decoder import build_model
from pipeline.objectives import build_objective
from pipeline.training.assembly import open_data

# What may differ: it says how to train or to store, not what is computed.
_FREE = {
    "vocab_size", "dropout", "dropout_rate", "attention_dropout", "hidden_dropout_prob", "attention_probs_dropout_prob",
    "embedding_dropout", "mlp_dropout", "initializer_factor", "initializer_range", "init_std", "use_cache",
    "forced_eos_token_id",
}  # fmt: skip
_OUR_NAMES = {
    "hidden_size": "d_model", "num_hidden_layers": "num_layers", "encoder_layers": "num_layers",
    "decoder_layers": "num_decoder_layers", "encoder_ffn_dim": "d_ff", "decoder_ffn_dim": "d_ff",
    "intermediate_size": "d_ff", "num_attention_heads": "num_heads", "encoder_attention_heads": "num_heads",
    "decoder_attention_heads": "num_heads", "max_position_embeddings": "positions.max_positions",
    "layer_norm_eps": "layer_norm_epsilon", "norm_eps": "layer_norm_epsilon", "rope_parameters": "positions.base",
    "layer_types": "global_attention_every", "feed_forward_proj": "architecture",
}  # fmt: skip
_BY_TOKEN = ("embedding.weight", "head.weight", "head.bias")
"""Parameters with a row for each token."""


class FirstWeights(NamedTuple):
    """The model's parameters, as an objective names them, and how many tokens have a row of their own there."""

    tensors: dict[str, torch.Tensor]
    num_copied: int
    num_averaged: int


def start_from_hf(config: RunConfig, folder: Path) -> FirstWeights:
    """Write the run's checkpoint of step 0: the weights of `folder`, and first ones for what is trained beside them."""
    data = open_data(config)
    found = first_weights(folder, config.model, data.tokenizer)
    objective = build_objective(config.objective, config.model, data.tokenizer.vocab_size, config.run.seed)
    kept = {*objective.state_dict()}
    buffers = {name: buffer for name, buffer in objective.named_buffers() if name in kept}
    parameters = {name: found.tensors.get(name, own.detach()) for name, own in objective.named_parameters()}
    frozen = {name for name, own in objective.named_parameters() if not own.requires_grad}
    take_tensors(
        config.checkpoints,
        {name: tensor for name, tensor in parameters.items() if name not in frozen},
        buffers | {name: parameters[name] for name in frozen},
        config.model_dump(mode="json"),
        data.fingerprints,
        f"hf:{Path(folder).absolute()}",
    )
    return found


def first_weights(folder: Path, config: ModelConfig, tokenizer: Tokenizer) -> FirstWeights:
    """The weights of the checkpoint in `folder` for a model of this `config` and data of this `tokenizer`.

    InputError for a folder without safetensors, or a checkpoint of another architecture or size.
    """
    folder = Path(folder)
    stored = read_stored(folder)
    if not stored:
        raise InputError(
            f"--init hf:{folder}: it holds no model.safetensors. Only those are read (other formats can run code): "
            "load it with transformers and save it again with save_pretrained"
        )
    _check_config(folder, config)
    rows = _rows(folder, tokenizer)
    tensors = {OBJECTIVE_PREFIX + name: tensor for name, tensor in _weights(folder, stored, config, rows)}
    copied = sum(len(row) == 1 for row in rows)
    return FirstWeights(tensors, copied, len(rows) - copied)


def _weights(
    folder: Path, stored: Mapping[str, Path], config: ModelConfig, rows: Sequence[Sequence[int]]
) -> Iterator[tuple[str, torch.Tensor]]:
    layout = layout_of(config)
    with parameters_on_meta():
        shapes = {name: each.shape for name, each in build_model(config, len(rows), seed=0).named_parameters()}
    for stock in stock_tensors(layout, shapes):
        name = _stored_name(stock.name, stored, layout.BODY_PREFIX)
        if name is None:
            raise InputError(f"--init hf:{folder}: it has no tensor {stock.name}, which a {layout.HEAD_CLASS} has")
        tensor = read_tensor(stored, name).float()
        if stock.parts[0] in _BY_TOKEN:
            tensor = _by_token(tensor, rows, shapes[stock.parts[0]][0])
        try:
            yield from ((part, piece.clone()) for part, piece in taken_apart(stock, tensor, shapes).items())
        except SpanwrightError as error:
            raise InputError(f"--init hf:{folder}: {error}") from None


def _by_token(tensor: torch.Tensor, rows: Sequence[Sequence[int]], num_rows: int) -> torch.Tensor:
    """The rows of our tokens, of those of the checkpoint; the rest up to `num_rows` (padding) is its own, or zero."""
    if all(list(row) == [index] for index, row in enumerate(rows)):
        found = tensor[:num_rows]
    else:
        mean = tensor.mean(0)
        found = torch.stack([tensor[list(row)].mean(0) if row else mean for row in rows])
    return torch.cat([found, found.new_zeros(num_rows - len(found), *tensor.shape[1:])])


def _stored_name(name: str, stored: Mapping[str, Path], body_prefix: str) -> str | None:
    """`name` as this checkpoint spells it: a body saved alone has no prefix, an old norm other names."""
    old = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
    spellings = (name, old, name.removeprefix(body_prefix), old.removeprefix(body_prefix))
    return next((spelling for spelling in spellings if spelling in stored), None)


def _check_config(folder: Path, config: ModelConfig) -> None:
    """Every field that our config decides must be what the checkpoint's says."""
    try:
        theirs = quiet_transformers().AutoConfig.from_pretrained(folder, local_files_only=True).to_dict()
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"--init hf:{folder}: not a folder that transformers reads: {error}") from None
    if theirs.get("model_type") != config.architecture:
        raise InputError(
            f"--init hf:{folder}: its model_type is {theirs.get('model_type')}, and model.architecture is "
            f"{config.architecture}"
        )
    for field, value in layout_of(config).config_fields(config, padded_vocab_size(theirs["vocab_size"])).items():
        if field not in _FREE and field in theirs and theirs[field] != value:
            ours = f"model.{_OUR_NAMES.get(field, field)}"
            raise InputError(
                f"--init hf:{folder}: its {field} is {theirs[field]}, and {ours} of this run gives {value}"
            )


def _rows(folder: Path, tokenizer: Tokenizer) -> list[Sequence[int]]:
    """For each token of ours the rows there that it begins as; none: the mean of all."""
    own = folder / MODEL_NAME
    if own.is_file() and hashlib.sha256(own.read_bytes()).hexdigest() == tokenizer.digest:
        return [(index,) for index in range(tokenizer.vocab_size)]
    try:
        theirs = quiet_transformers().AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"--init hf:{folder}: it has no tokenizer that transformers reads: {error}") from None
    vocabulary = theirs.get_vocab()
    special = _special_rows(theirs, vocabulary, tokenizer)
    return [
        special[index] if index in special else _rows_of_piece(tokenizer, index, theirs, vocabulary)
        for index in range(tokenizer.vocab_size)
    ]


def _special_rows(theirs: Any, vocabulary: Mapping[str, int], tokenizer: Tokenizer) -> dict[int, Sequence[int]]:
    """By role; sentinels by name; what the checkpoint does not have begins as the mean."""
    found: dict[int, Sequence[int]] = dict.fromkeys(tokenizer.special.all, ())
    for role in NAMED_PIECES:
        if (index := getattr(theirs, f"{role}_token_id", None)) is not None:
            found[getattr(tokenizer.special, role)] = (index,)
    for index, name in zip(tokenizer.special.sentinels, SENTINEL_PIECES, strict=True):
        if name in vocabulary:
            found[index] = (vocabulary[name],)
    return found


def _rows_of_piece(tokenizer: Tokenizer, index: int, theirs: Any, vocabulary: Mapping[str, int]) -> Sequence[int]:
    """The same piece there (as SentencePiece, byte-level BPE or WordPiece spells it), else what makes up its text."""
    spelling = tokenizer.id_to_piece(index)
    bare = spelling.removeprefix(WORD_MARK)
    begins_word = spelling != bare
    spellings = (spelling, f"\u0120{bare}", bare) if begins_word else (bare, f"##{bare}")
    same = next((name for name in spellings if name in vocabulary), None)
    if same is not None:
        return (vocabulary[same],)
    text = tokenizer.decode([index])
    if "\ufffd" in text or not text:
        return ()
    ids: list[int] = theirs(text, add_special_tokens=False)["input_ids"]
    return [each for each in ids if each != theirs.unk_token_id]
