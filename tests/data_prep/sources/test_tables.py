"""Parquet and the folders of Hugging Face `datasets`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import ipc, parquet

from data_prep.errors import InputError
from data_prep.sources import BadDocument, Document
from data_prep.sources.config import SourceConfig
from data_prep.sources.inputs import find_inputs

TEXTS = [f"text {number} " * (1 + number % 20) for number in range(1000)]
TABLE = pyarrow.table({"n": range(1000), "text": TEXTS, "lang": ["de", "en"] * 500})


@pytest.fixture
def parquet_file(tmp_path: Path) -> Path:
    path = tmp_path / "a.parquet"
    parquet.write_table(TABLE, path, row_group_size=100, compression="none", use_dictionary=False)
    return path


@pytest.fixture
def arrow_file(tmp_path: Path) -> Path:
    path = tmp_path / "data-00000-of-00001.arrow"
    with ipc.new_stream(path, TABLE.schema) as writer:
        writer.write_table(TABLE, max_chunksize=300)
    return path


@pytest.mark.parametrize("kind", ["parquet", "dataset"])
def test_a_row_is_a_document(kind: str, parquet_file: Path, arrow_file: Path, read_file: Callable[..., Any]) -> None:
    path = parquet_file if kind == "parquet" else arrow_file
    found = read_file(path, kind, lang_field="lang")
    assert [(document.id, document.text) for document in found] == [
        (f"{path.name}:{number}", text) for number, text in enumerate(TEXTS)
    ]
    assert [document.lang for document in found[:3]] == ["de", "en", "de"]
    assert [document.id for document in read_file(path, kind, id_field="n")][-2:] == ["998", "999"]


def test_the_arrow_file_format_is_read_too(tmp_path: Path, read_file: Callable[..., Any]) -> None:
    path = tmp_path / "a.arrow"
    with ipc.new_file(path, TABLE.schema) as writer:
        writer.write_table(TABLE, max_chunksize=300)
    assert [document.text for document in read_file(path, "dataset")] == TEXTS


def test_any_byte_ranges_of_a_parquet_file_give_the_same_documents(
    parquet_file: Path, read_file: Callable[..., Any]
) -> None:
    whole, size = read_file(parquet_file, "parquet"), parquet_file.stat().st_size
    assert len(whole) == len(TEXTS)
    for bounds in ([size // 2], [1, 5, size - 1], list(range(0, size, size // 37))):
        assert read_file(parquet_file, "parquet", bounds) == whole
    first = read_file(parquet_file, "parquet", [size // 4, size // 2, 3 * size // 4])
    assert first == whole


@pytest.mark.parametrize("kind", ["parquet", "dataset"])
def test_a_table_without_the_field_names_those_it_has(
    kind: str, parquet_file: Path, arrow_file: Path, read_file: Callable[..., Any]
) -> None:
    found = read_file(parquet_file if kind == "parquet" else arrow_file, kind, text_field="body")
    assert {item.reason for item in found} == {"missing_field"}
    assert found[7].describe().endswith("row 7: no field 'body' (it has: n, text, lang); set data.text_field")


def test_rows_that_are_no_text_cost_themselves(tmp_path: Path, read_file: Callable[..., Any]) -> None:
    path = tmp_path / "a.parquet"
    texts = [b"good", b"bad \xff", None, b"", b"also good"]
    column = pyarrow.array(texts, pyarrow.binary())
    column = pyarrow.StringArray.from_buffers(len(texts), column.buffers()[1], column.buffers()[2], column.buffers()[0])
    parquet.write_table(pyarrow.table({"text": column}), path)
    found = read_file(path, "parquet")
    assert [item.text if isinstance(item, Document) else item.reason for item in found] == [
        "good",
        "undecodable",
        "wrong_type",
        "empty",
        "also good",
    ]


def test_a_parquet_file_cut_short_is_named(parquet_file: Path, read_file: Callable[..., Any]) -> None:
    data = parquet_file.read_bytes()
    for kept in (0, 3, 100, len(data) // 2, len(data) - 1):
        parquet_file.write_bytes(data[:kept])
        [bad] = read_file(parquet_file, "parquet")
        assert bad.reason == "broken_file"
        assert bad.describe().startswith(f"{parquet_file}: not parquet, or cut short")


def test_a_damaged_row_group_costs_itself(tmp_path: Path, read_file: Callable[..., Any]) -> None:
    path = tmp_path / "a.parquet"
    parquet.write_table(TABLE, path, row_group_size=100, compression="snappy")
    group = parquet.ParquetFile(path).metadata.row_group(3).column(1)
    data = bytearray(path.read_bytes())
    at = group.dictionary_page_offset or group.data_page_offset
    data[at : at + 30] = bytes(30)
    path.write_bytes(bytes(data))
    found = read_file(path, "parquet")
    bad = [item for item in found if isinstance(item, BadDocument)]
    assert [(item.reason, item.offset) for item in bad] == [("broken_file", 300)]
    assert [item.text for item in found if isinstance(item, Document)] == TEXTS[:300] + TEXTS[400:]


def test_an_arrow_file_cut_short_keeps_what_comes_before(arrow_file: Path, read_file: Callable[..., Any]) -> None:
    data = arrow_file.read_bytes()
    for kept in (0, 4, 60, 2000, len(data) // 2, len(data) - 100):
        arrow_file.write_bytes(data[:kept])
        *documents, bad = read_file(arrow_file, "dataset")
        assert bad.reason == "broken_file"
        assert [item.text for item in documents] == TEXTS[: len(documents)]
    assert len(documents) == 900


def test_flipped_bits_of_an_arrow_file_never_crash_or_stop_the_reader(
    arrow_file: Path, read_file: Callable[..., Any]
) -> None:
    data = arrow_file.read_bytes()
    for at in range(7, len(data), len(data) // 120):
        arrow_file.write_bytes(data[:at] + bytes([data[at] ^ 0x81]) + data[at + 1 :])
        assert all(isinstance(item, Document | BadDocument) for item in read_file(arrow_file, "dataset"))


def save_to_disk(folder: Path, shards: int, **state: Any) -> None:
    """What `datasets.Dataset.save_to_disk` writes."""
    folder.mkdir(parents=True)
    names = [f"data-{number:05}-of-{shards:05}.arrow" for number in range(shards)]
    for number, name in enumerate(names):
        part = TABLE.slice(number * 1000 // shards, 1000 // shards)
        with ipc.new_stream(folder / name, part.schema) as writer:
            writer.write_table(part)
    content = {"_data_files": [{"filename": name} for name in names], "_format_type": None, **state}
    (folder / "state.json").write_text(json.dumps(content))
    (folder / "dataset_info.json").write_text("{}")


def test_a_saved_dataset_is_found_by_its_own_list_of_files(tmp_path: Path) -> None:
    save_to_disk(tmp_path / "saved", 2)
    (tmp_path / "saved" / "cache-123.arrow").write_bytes(b"left over")
    files = find_inputs(SourceConfig(paths=(str(tmp_path / "saved"),)))
    assert [(file.name, file.source) for file in files] == [
        ("data-00000-of-00002.arrow", "dataset"),
        ("data-00001-of-00002.arrow", "dataset"),
    ]


def test_a_dictionary_of_datasets_gives_its_parts_in_order(tmp_path: Path) -> None:
    for part in ("train", "test"):
        save_to_disk(tmp_path / "saved" / part, 1)
    (tmp_path / "saved" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    names = [file.name for file in find_inputs(SourceConfig(paths=(str(tmp_path / "saved"),)))]
    assert names == ["train/data-00000-of-00001.arrow", "test/data-00000-of-00001.arrow"]


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"_indices_data_files": [{"filename": "indices.arrow"}]}, "flatten_indices"),
        ({"_data_files": [{"filename": "gone.arrow"}]}, "names 'gone.arrow', which is not beside it"),
        ({"_data_files": [{"filename": "../state.json"}]}, "which is not beside it"),
        ({"_data_files": 3}, "not written by datasets.save_to_disk"),
    ],
)
def test_a_saved_dataset_that_is_not_whole_is_one_message(state: Any, message: str, tmp_path: Path) -> None:
    save_to_disk(tmp_path / "saved", 1, **state)
    with pytest.raises(InputError, match=message):
        find_inputs(SourceConfig(paths=(str(tmp_path / "saved"),)))
