"""Put the parts of a run together on one rank: data, model, engine.

1. open_data         dataset, tokenizer, training stream, held-out stream, their corruptions
2. build_engine      the objective with its first weights, under DeepSpeed
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from data_prep.errors import InputError
from data_prep.shards import Dataset
from data_prep.tokenizer import Tokenizer
from pipeline.config import RunConfig, fingerprint
from pipeline.corruption.corruption import Corruption
from pipeline.corruption.mixture import EACH_ITS_OWN, StepNumbers
from pipeline.kernels.attention.operator import MAX_HEAD_DIM
from pipeline.kernels.packages import is_installed
from pipeline.model.float8 import use_float8
from pipeline.model.transformer import set_activation_checkpointing, set_cuda_graphs
from pipeline.objectives import build_objective
from pipeline.phases import PhasedCorruption, PhasedStream
from pipeline.stream import Stream
from pipeline.training.embedding_table import EmbeddingTable
from pipeline.training.engine import Engine
from pipeline.training.heldout import HeldOut
from pipeline.training.loader import MicroBatches
from pipeline.training.rank import Rank

HELDOUT = "heldout"


@dataclass(frozen=True)
class Data:
    """What a run reads."""

    dataset: Dataset
    tokenizer: Tokenizer
    stream: PhasedStream
    micro_batches: MicroBatches
    heldout: HeldOut | None
    stream_fingerprint: str
    """A digest of everything the samples and their masks depend on, beside the config and the position."""

    @property
    def fingerprints(self) -> dict[str, str]:
        """Of dataset, stream and tokenizer, as a checkpoint's Record names them."""
        return {
            "dataset_fingerprint": self.dataset.fingerprint,
            "stream_fingerprint": self.stream_fingerprint,
            "tokenizer_digest": self.tokenizer.digest,
        }

    def heldout_documents(self) -> Iterator[tuple[str, np.ndarray]]:
        """Id and tokens of each held-out document (training document where none were held out), in order."""
        split = self.dataset.split(HELDOUT if self.heldout else "train")
        for number in range(split.num_chunks):
            chunk = split.chunk(number)
            for name, (start, stop) in zip(chunk.ids, itertools.pairwise(chunk.docs.tolist()), strict=True):
                yield name, chunk.tokens[start:stop]


def open_data(config: RunConfig) -> Data:
    """The data of a run; InputError or CorruptionError naming the file that is missing or wrong."""
    dataset = Dataset.open(config.data_dir)
    for _, phase in config.in_phases():
        dataset.require_columns([wanted.name for wanted in phase.columns])
    tokenizer = Tokenizer.load(dataset.tokenizer_folder)
    stream = _training_stream(config, dataset)
    sizes = config.batch_sizes
    makers = [
        _corruption(phase, tokenizer, "corruption", StepNumbers(phase.training.global_batch, start, step))
        for start, (step, phase) in zip(sizes.starts, config.in_phases(), strict=True)
    ]
    batches = MicroBatches(stream, PhasedCorruption(stream.starts, makers), sizes)
    tables = [table for maker in makers for table in maker.tables]
    identity = fingerprint(stream.fingerprint, tables) if tables else stream.fingerprint
    return Data(dataset, tokenizer, stream, batches, _heldout(config, dataset, tokenizer), identity)


def build_engine(config: RunConfig, data: Data, rank: Rank) -> Engine:
    """The objective of the run under DeepSpeed, with its first weights."""
    objective: Any = build_objective(config.objective, config.model, data.tokenizer.vocab_size, config.run.seed)
    if config.training.float8 is not None:
        use_float8(objective, config.training.float8, rank.device)
    set_activation_checkpointing(objective, config.training.activation_checkpointing)
    set_cuda_graphs(objective, _records(config, rank))
    table = EmbeddingTable("model.embedding.weight", data.tokenizer.vocab_size)
    return Engine(objective, config.training, rank, config.deepspeed, table)


def _records(config: RunConfig, rank: Rank) -> bool:
    """Whether kernels are recorded; InputError when that is asked where it cannot be."""
    wanted = config.training.cuda_graphs
    widest = MAX_HEAD_DIM["cuda"]
    hindrance = None
    if rank.device.type != "cuda":
        hindrance = "needs a GPU, and this run has none"
    elif config.model.d_kv > widest or not is_installed("triton"):
        hindrance = f"needs attention's kernels, which take heads up to d_kv={widest} where Triton is installed"
    if wanted and hindrance:
        raise InputError(f"training.cuda_graphs=true {hindrance}: leave it out, or set it false")
    return hindrance is None and config.training.zero_stage < 3 if wanted is None else wanted


def _training_stream(config: RunConfig, dataset: Dataset) -> PhasedStream:
    split, phases = dataset.split("train"), config.in_phases()
    columns = tuple(dict.fromkeys(column for _, phase in phases for column in phase.columns))
    starts = config.batch_sizes.starts
    origins: list[int] = []
    streams: list[Stream] = []
    for number, (_, phase) in enumerate(phases):
        before = phases[number - 1][1]
        same = phase.stream == before.stream and phase.corruption.reads_other == before.corruption.reads_other
        if streams and same:
            origins.append(origins[-1])
            streams.append(streams[-1])
        else:
            name = f"train/phase {number}" if number else "train"
            origins.append(starts[number])
            others = phase.corruption.reads_other
            streams.append(Stream(split, phase.stream, config.run.seed, name, columns=columns, others=others))
    return PhasedStream(starts, origins, streams)


def _heldout(config: RunConfig, dataset: Dataset, tokenizer: Tokenizer) -> HeldOut | None:
    """The held-out samples; None when the config asks for none, or the corpus was too small to hold any out."""
    wanted = config.training.heldout_samples
    if not wanted or not dataset.manifest.splits.get(HELDOUT):
        return None
    stream = Stream(
        dataset.split(HELDOUT), config.stream, config.run.seed, HELDOUT, False, config.columns,
        config.corruption.reads_other,
    )  # fmt: skip
    # One draw of a mixture for a whole step of training; held-out samples get all parts.
    maker = _corruption(config, tokenizer, HELDOUT, EACH_ITS_OWN)
    return HeldOut(stream, maker, min(wanted, len(stream)), config.training.micro_batch)


def _corruption(config: RunConfig, tokenizer: Tokenizer, name: str, steps: StepNumbers) -> Corruption:
    return Corruption(
        config.corruption,
        tokenizer.special,
        tokenizer.vocab_size,
        config.stream.window,
        config.stream.max_sequences,
        config.run.seed,
        name,
        config.segmented_views,
        steps,
    )
