"""Our SentencePiece model as a Hugging Face tokenizer with the same ids: tokenizer.json and tokenizer_config.json.

Invariant: for each encoding segment, `AutoTokenizer.from_pretrained(out)(segment, add_special_tokens=False)` gives the
ids that `data_prep.tokenizer.Tokenizer` gives it. What makes them the same:
1. Pieces are stored with real spaces instead of SentencePiece's U+2581; there is no normaliser and no pre-tokenizer:
   text goes to the model as it is, newlines and runs of spaces survive, a literal U+2581 falls back to its bytes.
2. Byte and control pieces must be in the vocabulary (for ids and byte fallback) but must never match text: they get a
   score no path can afford.
3. Special tokens typed in a text are taken as such (a fill-in prompt needs that) unless `split_special_tokens=True`.
Where two ways to cut a text score exactly the same, float sums in another order may prefer the other one: see `verify`.
"""

import json
import re
import shutil
from pathlib import Path
from typing import Any

from data_prep.tokenizer import Tokenizer
from data_prep.tokenizer.special import NAMED_PIECES, SENTINEL_PIECES, SPARE_PIECES
from data_prep.tokenizer.tokenizer import MODEL_NAME, WORD_MARK
from pipeline.export.libraries import library
from pipeline.model.architecture import ARCHITECTURES, Architecture

UNAFFORDABLE = -1e9
_LONGEST_INPUT = 10**30  # transformers' own "no limit"


def export_tokenizer(tokenizer_folder: Path, out: Path, layers: Architecture = ARCHITECTURES["t5"]) -> None:
    """Write the tokenizer of `tokenizer_folder` into the existing folder `out`.

    It puts eos after a text; for an encoder, cls before and sep after it.
    """
    tokenizer = Tokenizer.load(tokenizer_folder)
    processor = library("sentencepiece").SentencePieceProcessor(model_file=str(tokenizer_folder / MODEL_NAME))
    backend = _backend(processor, tokenizer.special.unk)
    _add_special_tokens(backend, tokenizer, ends=not layers.has_decoder)
    (out / "tokenizer.json").write_text(backend.to_str(pretty=True) + "\n", encoding="utf-8")
    (out / "tokenizer_config.json").write_text(json.dumps(_tokenizer_config(layers), indent=2) + "\n", encoding="utf-8")
    shutil.copyfile(tokenizer_folder / MODEL_NAME, out / MODEL_NAME)


def _backend(processor: Any, unk_id: int) -> Any:
    tokenizers = library("tokenizers")
    pieces = [_spelling(processor, index) for index in range(processor.vocab_size())]
    scores = [_score(processor, index) for index in range(processor.vocab_size())]
    if _is_bpe(processor):
        model = tokenizers.models.BPE(
            vocab={piece: index for index, piece in enumerate(pieces)},
            merges=_merges(pieces, scores),
            unk_token=pieces[unk_id],
            fuse_unk=True,
            byte_fallback=True,
        )
    else:
        model = tokenizers.models.Unigram(list(zip(pieces, scores, strict=True)), unk_id=unk_id, byte_fallback=True)
    backend = tokenizers.Tokenizer(model)
    unspellable = _unspellable(pieces, scores)
    if unspellable:
        pattern = tokenizers.Regex("|".join(re.escape(character) for character in unspellable))
        backend.pre_tokenizer = tokenizers.pre_tokenizers.Split(pattern, "isolated")
    backend.decoder = tokenizers.decoders.Sequence([tokenizers.decoders.ByteFallback(), tokenizers.decoders.Fuse()])
    return backend


def _spelling(processor: Any, index: int) -> str:
    return processor.id_to_piece(index).replace(WORD_MARK, " ")


def _score(processor: Any, index: int) -> float:
    matches_text = not (
        processor.is_control(index)
        or processor.is_byte(index)
        or processor.is_unknown(index)
        or processor.is_unused(index)
    )
    return processor.get_score(index) if matches_text else UNAFFORDABLE


def _unspellable(pieces: list[str], scores: list[float]) -> list[str]:
    """Characters of pieces that never match text which have no piece of their own.

    An unknown character costs more than any piece, so "<0x0A>" in a text would be cheapest as that byte piece if, say,
    the corpus had no "0". Cutting the text around these characters forbids that and nothing else: no other piece has
    them.
    """
    alphabet = {piece for piece, score in zip(pieces, scores, strict=True) if score > UNAFFORDABLE and len(piece) == 1}
    matchless = (piece for piece, score in zip(pieces, scores, strict=True) if score == UNAFFORDABLE)
    return sorted(set("".join(matchless)) - alphabet)


def _is_bpe(processor: Any) -> bool:
    model_proto = library("sentencepiece.sentencepiece_model_pb2").ModelProto
    spec = model_proto.FromString(processor.serialized_model_proto()).trainer_spec
    return spec.model_type == spec.BPE


def _merges(pieces: list[str], scores: list[float]) -> list[tuple[str, str]]:
    """Every way to join two pieces to a third, best third first (SentencePiece merges by the result's score)."""
    known = {piece for piece, score in zip(pieces, scores, strict=True) if score > UNAFFORDABLE}
    by_score = sorted(range(len(pieces)), key=lambda index: -scores[index])
    return [
        (pieces[index][:cut], pieces[index][cut:])
        for index in by_score
        if pieces[index] in known
        for cut in range(1, len(pieces[index]))
        if pieces[index][:cut] in known and pieces[index][cut:] in known
    ]


def _add_special_tokens(backend: Any, tokenizer: Tokenizer, ends: bool) -> None:
    tokenizers = library("tokenizers")
    names = [tokenizer.id_to_piece(index) for index in tokenizer.special.all]
    backend.add_special_tokens([tokenizers.AddedToken(name, normalized=False, special=True) for name in names])
    special = tokenizer.special
    cls, sep, eos = (tokenizer.id_to_piece(index) for index in (special.cls, special.sep, special.eos))
    backend.post_processor = tokenizers.processors.TemplateProcessing(
        single=f"{cls} $A {sep}" if ends else f"$A {eos}",
        pair=f"{cls} $A {sep} $B:1 {sep}:1" if ends else f"$A {eos} $B {eos}",
        special_tokens=[(cls, special.cls), (sep, special.sep)] if ends else [(eos, special.eos)],
    )


def _tokenizer_config(layers: Architecture) -> dict[str, Any]:
    return {
        # The generic class takes tokenizer.json as it is; T5Tokenizer would build its own pipeline around the pieces.
        "tokenizer_class": "PreTrainedTokenizerFast",
        **{f"{name}_token": piece for name, piece in NAMED_PIECES.items()},
        "additional_special_tokens": [*SENTINEL_PIECES, *SPARE_PIECES],
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", *(["token_type_ids"] if layers.token_types else []), "attention_mask"],
        "model_max_length": _LONGEST_INPUT,
    }
