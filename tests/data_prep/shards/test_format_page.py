"""What docs/shard-format.md says is true: its example runs, and its digests can be had without this project's code."""

import hashlib
import json
import re
from pathlib import Path

from data_prep.columns.annotate import column_types
from data_prep.columns.config import ColumnsConfig

PAGE = Path(__file__).parents[3] / "docs" / "shard-format.md"


def compact(content: object) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def test_the_pages_example_reads_a_dataset(dataset, make_documents):
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names: dict = {}
    exec(example.replace("DATASET", str(dataset)), names)
    last_chunk_first_document = names["ids"][0], names["first_document"].tolist()
    assert last_chunk_first_document in [(name, tokens.tolist()) for name, tokens in make_documents(0, 60)]


def test_the_manifests_digests_are_what_the_page_says(dataset):
    text = (dataset / "manifest.json").read_text()
    manifest = json.loads(text)
    assert text == json.dumps(manifest, sort_keys=True, indent=1) + "\n"
    seal = manifest.pop("sha256")
    assert seal == hashlib.sha256(compact(manifest)).hexdigest()
    tars = {split: [shard["sha256"] for shard in shards] for split, shards in manifest["splits"].items()}
    content = [1, manifest["tokenizer"]["digest"], tars]
    assert manifest["fingerprint"] == hashlib.sha256(compact(content)).hexdigest()
    for shard in manifest["splits"]["train"]:
        assert hashlib.sha256((dataset / f"{shard['name']}.tar").read_bytes()).hexdigest() == shard["sha256"]
        assert hashlib.sha256((dataset / f"{shard['name']}.index").read_bytes()).hexdigest() == shard["index"]


def test_the_page_names_every_field_of_the_manifest_and_the_index(dataset):
    page = PAGE.read_text(encoding="utf-8")
    manifest, index = (json.loads((dataset / name).read_text()) for name in ("manifest.json", "shard-00000.index"))
    chunk = index["chunks"][0]
    records = [manifest, manifest["tokenizer"], manifest["totals"], manifest["splits"]["train"][0], index, chunk]
    fields = {field for record in [*records, chunk["members"][0]] for field in record}
    assert sorted(field for field in fields if f"`{field}`" not in page) == []


def test_the_page_names_every_column_that_can_be_made_with_its_type() -> None:
    page = PAGE.read_text(encoding="utf-8")
    everything = {"words": "unicode", "sents": "rules", "lang": True, "pair": True, "spans": "code", "weight": "pmi"}
    types = column_types(ColumnsConfig.model_validate(everything))
    assert len(types) == 7
    for name, column in types.items():
        per = "spans" if column.per == "span" else f"per {column.per}"
        assert f"\n| `{name}` | {per}, `{column.dtype}` |" in page
