"""What tells the stock architectures apart, as plain facts, read by every part of a model (no torch here).

Weights are stored and exported in the layout of their architecture, so a fact here is true of the Hugging Face class of
the same name too.
"""

from dataclasses import dataclass
from typing import Literal

ArchitectureName = Literal["t5", "bart", "bert", "electra", "mpnet", "modernbert"]


@dataclass(frozen=True)
class Architecture:
    """One family of layers."""

    title: str  # as people write it
    has_decoder: bool
    norm: Literal["rms", "layer"]
    norm_first: bool  # before each part, and once after the last; else after each sum
    embedding_norm: bool  # the embeddings are normalised before the first layer
    biases: bool  # in linear maps and norms
    feed_forward: Literal["gated-gelu-tanh", "gated-gelu", "gelu"]
    scaled_scores: bool  # attention scores are divided by sqrt(d_kv)
    head: Literal[
        "tokens", "masked", "detection"
    ]  # logits by the embedding; after a dense layer and a norm; one per row
    deviation: float | None  # of every first weight; None: T5's own, by matrix
    token_types: int = 0  # vectors that tell the segments of a pair apart
    output_dropout: bool = False  # after the last norm too
    bare_first_norm: bool = False  # the first layer's attention reads the normalised embeddings as they are


ARCHITECTURES: dict[ArchitectureName, Architecture] = {
    # Raffel et al. 2020 and the T5 v1.1 release
    "t5": Architecture(
        "T5", has_decoder=True, norm="rms", norm_first=True, embedding_norm=False, biases=False,
        feed_forward="gated-gelu-tanh", scaled_scores=False, head="tokens", deviation=None, output_dropout=True,
    ),
    # Lewis et al. 2020, section 2.1
    "bart": Architecture(
        "BART", has_decoder=True, norm="layer", norm_first=False, embedding_norm=True, biases=True,
        feed_forward="gelu", scaled_scores=True, head="tokens", deviation=0.02,
    ),
    # Devlin et al. 2019, section 3
    "bert": Architecture(
        "BERT", has_decoder=False, norm="layer", norm_first=False, embedding_norm=True, biases=True,
        feed_forward="gelu", scaled_scores=True, head="masked", deviation=0.02, token_types=2,
    ),
    # Clark et al. 2020, section 2 and appendix A: BERT's layers under a head that tells replaced tokens
    "electra": Architecture(
        "ELECTRA", has_decoder=False, norm="layer", norm_first=False, embedding_norm=True, biases=True,
        feed_forward="gelu", scaled_scores=True, head="detection", deviation=0.02, token_types=2,
    ),
    # Song et al. 2020, appendix: BERT's layers, and T5's buckets beside the learned positions
    "mpnet": Architecture(
        "MPNet", has_decoder=False, norm="layer", norm_first=False, embedding_norm=True, biases=True,
        feed_forward="gelu", scaled_scores=True, head="masked", deviation=0.02,
    ),
    # Warner et al. 2024, section 2.1
    "modernbert": Architecture(
        "ModernBERT", has_decoder=False, norm="layer", norm_first=True, embedding_norm=True, biases=False,
        feed_forward="gated-gelu", scaled_scores=True, head="masked", deviation=0.02, bare_first_norm=True,
    ),
}  # fmt: skip
