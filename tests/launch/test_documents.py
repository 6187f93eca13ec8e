"""`spanwright inspect DATASET`: what people see of documents and their columns."""

import io
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

from data_prep.columns.annotate import column_types, columns_of
from data_prep.columns.config import ColumnsConfig
from data_prep.config import TokenizerConfig
from data_prep.errors import InputError
from data_prep.shards import ChunkBuilder, ShardWriter, build_manifest, describe_tokenizer, write_manifest
from data_prep.sources.document import Document
from data_prep.tokenizer import Tokenizer
from data_prep.tokenizer.tokenizer import MODEL_NAME
from data_prep.tokenizer.train import train_model
from launch.cli import cli
from launch.documents import MOST_TOKENS, inspect_documents

TEXT = "def add(a):  # one two\n    return a"
PROSE = "Mr. Doe went. He is back!"


def write(folder: Path, config: ColumnsConfig, documents: list[Document]) -> Path:
    (folder / "tokenizer").mkdir(parents=True)
    model = train_model([TEXT, PROSE] * 50, TokenizerConfig(vocab_size=600)).model
    (folder / "tokenizer" / MODEL_NAME).write_bytes(model)
    tokenizer = Tokenizer.load(folder / "tokenizer")
    types = column_types(config)
    builder = ChunkBuilder("uint16", 1000)
    with ShardWriter(folder, "shard-00000", ()) as writer:
        for document in documents:
            ids = tokenizer.encode(document.text)
            columns = columns_of(document, ids, tokenizer, config)
            if "weight" in types:
                columns |= {"weight": np.arange(len(ids), dtype=np.uint8), "ngrams": np.ones(len(ids), np.uint8)}
                columns["ngrams"][1:2] = 0
            if chunk := builder.add(document.id, ids, columns):
                writer.add(chunk)
        if chunk := builder.finish():
            writer.add(chunk)
    entry = describe_tokenizer(folder, "tokenizer", tokenizer.digest, tokenizer.vocab_size)
    write_manifest(folder, build_manifest("shown", entry, {"train": [writer.entry]}, {}, {}, types))
    return folder


def shown(folder: Path, num_documents: int = 3, **console: object) -> str:
    out = io.StringIO()
    printer = Console(file=out, width=200, **console)  # type: ignore[arg-type]
    for renderable in inspect_documents(folder, "train", num_documents):
        printer.print(renderable)
    return out.getvalue()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = ColumnsConfig.model_validate(
        {"words": "unicode", "sents": "rules", "lang": True, "pair": True, "spans": "python", "weight": "pmi"}
    )
    documents = [
        Document("first.py", TEXT, "first.py", lang="en", pair="p"),
        Document("second", PROSE, "second"),
        Document("third", "x", "third"),
    ]
    return write(tmp_path_factory.mktemp("data") / "dataset", config, documents)


def test_documents_are_shown_with_every_column(dataset: Path) -> None:
    text = shown(dataset)
    first, second, third = text.split("╭─")[1:]
    assert "3 documents, columns: lang, ngrams, pair, sents, spans, weight, words" in text
    assert "first.py ─" in first
    assert "lang en, pair " in first
    assert "spans: 3 identifiers: add, a, a" in first
    assert "spans: 1 comment: #·one·two" in first
    assert "lang unknown, pair none" in second
    assert second.count("¶") == 2
    assert "M‿r│.│·Doe│·went│." in second.split("¶")[1]
    assert "·He│·is│·back│!" in second.split("¶")[2]
    assert "weight: 0 to " in second
    assert "1 token, 1 word, 1 sentence" in third


def test_only_as_many_documents_and_tokens_are_shown_as_asked_for(tmp_path: Path, dataset: Path) -> None:
    assert "second" not in shown(dataset, 1)
    long = write(tmp_path / "long", ColumnsConfig(), [Document("long", "a b " * MOST_TOKENS, "long")])
    text = shown(long)
    assert "no columns" in text
    assert f"{len(Tokenizer.load(long / 'tokenizer').encode('a b ' * MOST_TOKENS)) - MOST_TOKENS:,} more" in text


def test_colours_stand_for_weights_and_code(dataset: Path) -> None:
    text = shown(dataset, 1, force_terminal=True, color_system="truecolor")
    assert "\x1b[36" in text  # cyan: identifiers
    assert "48;2;160;53;80m" in text  # the heaviest token's background


def test_the_command_shows_a_dataset_and_explains_what_does_not_go_with_it(dataset: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["inspect", str(dataset), "--documents", "1"])
    assert result.exit_code == 0
    assert "first.py" in result.output
    result = CliRunner().invoke(cli, ["inspect", str(dataset), "--text", "a"])
    assert isinstance(result.exception, InputError)
    assert "is a dataset; --text, --step and overrides need the config of a run" in str(result.exception)
    with pytest.raises(InputError, match="no split 'test'; it has train"):
        list(inspect_documents(dataset, "test", 1))
