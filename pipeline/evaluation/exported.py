"""Exported folders as probes ask them, by the libraries that they were made for.

    hf, encoder            transformers (stock.py)
    sentence-transformers  the library's own `encode`, with its pooling and prompts
    onnx                   onnxruntime (onnx_graphs.py)
    native                 our own loader
The run that the folder lies in says how texts were laid out; of a folder elsewhere its architecture does.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from data_prep.errors import InputError
from data_prep.shards import Dataset
from data_prep.shards.names import is_dataset
from data_prep.tokenizer import Tokenizer
from data_prep.tokenizer.special import SpecialTokens
from pipeline.checkpoint.format import step_of
from pipeline.config import RunConfig, load_run
from pipeline.config_files import RUN_CONFIG_NAME
from pipeline.evaluation.config import check_names
from pipeline.evaluation.habits import Habits
from pipeline.evaluation.model import Model, TrainedModel
from pipeline.evaluation.onnx_graphs import OnnxModel
from pipeline.evaluation.results import Place
from pipeline.evaluation.run import Found, ask
from pipeline.evaluation.stock import StockModel, class_name, config_fields
from pipeline.evaluation.subject import Options, Subject
from pipeline.evaluation.texts import Texts
from pipeline.export.libraries import library, quiet_transformers
from pipeline.export.native import load_native

RESULTS = "evaluation.json"
_MODULES = "modules.json"
_WEIGHTS = ("*.safetensors", "*.onnx", "*.onnx.data")
_LONGEST_TEXT, _OTHER_PLACES = 510, 4  # tokens; [CLS] and [SEP], and two places that MPNet's class leaves out
_ALONE = "the encoder alone was exported, without its head"
Vectors = Callable[[Sequence[str]], npt.NDArray[np.float32]]


def is_export(folder: Path) -> bool:
    """Whether an exported model lies in `folder`."""
    return (folder / "config.json").is_file() or (folder / _MODULES).is_file() or any(folder.glob("*.onnx"))


def run_of(folder: Path) -> RunConfig | None:
    """The run whose export this is, where it still lies in it."""
    run_dir = folder.resolve().parents[1]
    return load_run(run_dir) if (run_dir / RUN_CONFIG_NAME).is_file() else None


def load_export(folder: Path) -> tuple[Model, Habits, Tokenizer, Vectors | None]:
    """The model, how it expects texts, its tokenizer, and the library's own vectors of texts where it makes them."""
    tokenizer, run = Tokenizer.load(folder), run_of(folder)
    if (folder / _MODULES).is_file():
        sentence_model = _sentence_model(folder)
        inner = StockModel(sentence_model[0].auto_model, tokenizer.vocab_size)
        return inner, _encoder_habits(folder, run, tokenizer.special), tokenizer, _encode_with(sentence_model)
    if "format_version" in config_fields(folder):
        native = TrainedModel(load_native(folder), tokenizer.vocab_size)
        if run is None:
            raise InputError(f"{folder}: a native export is asked in the run that it was made from (RUN/export/...)")
        return native, Habits.of_run(run, tokenizer.special), tokenizer, None
    is_onnx = any(folder.glob("*.onnx"))
    model: Model = (OnnxModel if is_onnx else StockModel).load(folder, tokenizer.vocab_size)
    if "For" not in class_name(folder):  # T5EncoderModel, BertModel, ...
        return model, _encoder_habits(folder, run, tokenizer.special), tokenizer, None
    return model, _habits(folder, run, tokenizer.special), tokenizer, None


def evaluate_export(
    folder: Path, names: Sequence[str], data: Path | None = None, options: Options | None = None
) -> tuple[Place, Found]:
    """The probes `names` of the model in `folder`; texts are of the run that it lies in, or of the dataset `data`."""
    check_names(names)
    model, habits, tokenizer, sentences = load_export(folder)
    run = run_of(folder)
    if data is None and run is None:
        raise InputError(f"{folder}: lies in no run whose held-out text could be asked about: give some with --data")
    own = Dataset.open(run.data_dir) if run and is_dataset(run.data_dir) else None
    dataset = Dataset.open(data) if data is not None else own
    if dataset is None:
        raise InputError(f"{folder}: the dataset of its run is gone: give other text with --data")
    texts = Texts(dataset, tokenizer, trained_on=own.fingerprint if own else None)
    subject = Subject(model, habits, tokenizer, texts, options or Options(), sentences=sentences)
    place = _place_of(folder)
    return place, ask(subject, names, place)


def _place_of(folder: Path) -> Place:
    """Where the results go; the run's record of the export says which checkpoint it was made from."""
    try:
        record = json.loads((folder.resolve().parent / "export.json").read_text(encoding="utf-8"))
        checkpoint = str(record[folder.resolve().name]["checkpoint"])
    except (OSError, ValueError, KeyError, TypeError):
        checkpoint = None
    digest = hashlib.sha256()
    for path in sorted(path for kind in _WEIGHTS for path in folder.rglob(kind)):
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return Place(folder / RESULTS, step_of(checkpoint or ""), checkpoint, digest.hexdigest())


def sentence_vectors(folder: Path) -> Vectors:
    """`encode` of the sentence-transformers model in `folder`; InputError where the library cannot load it."""
    return _encode_with(_sentence_model(folder))


def _sentence_model(folder: Path) -> Any:
    quiet_transformers()
    if not folder.is_dir():
        raise InputError(f"--beside {folder}: there is no such folder")
    try:
        loaded: Any = library("sentence_transformers").SentenceTransformer(
            str(folder), device="cpu", local_files_only=True
        )
    except Exception as error:  # whatever a library says of a folder that is none of its own
        raise InputError(f"{folder}: sentence-transformers cannot load it: {error}") from error
    return loaded.eval()


def _encode_with(model: Any) -> Vectors:
    def vectors(texts: Sequence[str]) -> npt.NDArray[np.float32]:
        with torch.no_grad():
            found: npt.NDArray[np.float32] = model.encode(list(texts), batch_size=32, show_progress_bar=False)
        return found

    return vectors


def _encoder_habits(folder: Path, run: RunConfig | None, special: SpecialTokens) -> Habits:
    return _habits(folder, run, special).without_head(_ALONE)


def _habits(folder: Path, run: RunConfig | None, special: SpecialTokens) -> Habits:
    if run is not None:
        return Habits.of_run(run, special)
    places = config_fields(folder).get("max_position_embeddings", _LONGEST_TEXT + _OTHER_PLACES)
    longest = min(_LONGEST_TEXT, places - _OTHER_PLACES)
    return Habits.of_class(class_name(folder), special, longest)
