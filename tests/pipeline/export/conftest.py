"""A small trained tokenizer and model weights to export."""

import inspect
import json
from pathlib import Path

import pytest
import torch

from data_prep.config import TokenizerConfig
from data_prep.tokenizer.tokenizer import MODEL_NAME
from data_prep.tokenizer.train import train_model
from pipeline.model.config import ModelConfig
from pipeline.objectives import build_objective

CONFIG = ModelConfig(d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=2)
VOCAB = 1000


def corpus() -> list[str]:
    """Python source this test run can read anyway."""
    return [inspect.getsource(module) for module in (inspect, json, json.decoder, json.encoder)]


@pytest.fixture(scope="session", params=["unigram", "bpe"])
def any_tokenizer_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained("unigram", tmp_path_factory.mktemp("tokenizer"))


def trained(kind: str, folder: Path) -> Path:
    model = train_model(corpus(), TokenizerConfig(kind=kind, vocab_size=VOCAB))
    assert model.vocab_size == VOCAB
    (folder / MODEL_NAME).write_bytes(model.model)
    return folder


@pytest.fixture
def texts() -> list[str]:
    return corpus()


@pytest.fixture
def model_config() -> ModelConfig:
    return CONFIG


@pytest.fixture
def weights() -> dict[str, torch.Tensor]:
    """A model's parameters as a checkpoint names them."""
    objective = build_objective({"kind": "denoising"}, CONFIG, VOCAB, seed=2)
    return {name: parameter.detach() for name, parameter in objective.named_parameters()}
