from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from data_prep.tokenizer import Tokenizer
from data_prep.tokenizer.segments import segments
from pipeline.export.tokenizer import export_tokenizer
from pipeline.export.verify import compare_ids

TRICKY = [
    "",
    " ",
    "def f(x):\n    if x:\n\treturn 'a  b'  \n\n",
    "a literal \u2581 here, \u2581\u2581 and at the end \u2581",
    "<extra_id_0> </s> <pad> <spare_3> <unk>",
    "<0x0A> <0xE2><0x96><0x81>",
    "\u65e5\u672c\u8a9e \x00 \u00e9 e\u0301 \U0001f600",
    "\r\n\t \u00a0 \u3000",
]


@pytest.fixture(scope="module")
def both(
    any_tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Tokenizer, PreTrainedTokenizerBase]:
    out = tmp_path_factory.mktemp("exported")
    export_tokenizer(any_tokenizer_folder, out)
    return Tokenizer.load(any_tokenizer_folder), AutoTokenizer.from_pretrained(out)


def ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]


@pytest.mark.parametrize("text", TRICKY)
def test_tricky_text_gets_the_same_ids_and_comes_back_whole(text: str, both) -> None:
    ours, theirs = both
    assert ids(theirs, text) == ours.encode(text).tolist()
    assert theirs.decode(ids(theirs, text)) == text


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_any_text_comes_back_whole(text: str, both) -> None:
    _, theirs = both
    assert theirs.decode(ids(theirs, text)) == text


def test_source_code_gets_the_same_ids_segment_by_segment(any_tokenizer_folder: Path, texts, tmp_path: Path) -> None:
    export_tokenizer(any_tokenizer_folder, tmp_path)
    figures = compare_ids(tmp_path, any_tokenizer_folder, texts)
    assert figures["tokens"] > 40_000
    assert (figures["different"], figures["example"]) == (0, None)
    assert any(len(list(segments(text))) > 1 for text in texts)


def test_special_tokens_have_our_ids_and_are_read_in_prompts(both) -> None:
    ours, theirs = both
    assert (theirs.pad_token_id, theirs.eos_token_id, theirs.unk_token_id) == (0, 1, 2)
    for index in ours.special.all:
        assert theirs.convert_tokens_to_ids(ours.id_to_piece(index)) == index
    assert len(theirs) == ours.vocab_size
    prompt = theirs("a <extra_id_0> b")["input_ids"]
    assert ours.special.sentinels[0] in prompt
    assert prompt[-1] == ours.special.eos
    assert theirs.decode(prompt, skip_special_tokens=True) == "a  b"


def test_bytes_repeat(any_tokenizer_folder: Path, tmp_path: Path) -> None:
    contents = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        export_tokenizer(any_tokenizer_folder, tmp_path / name)
        contents.append({path.name: path.read_bytes() for path in sorted((tmp_path / name).iterdir())})
    assert contents[0] == contents[1]
    assert list(contents[0]) == ["spiece.model", "tokenizer.json", "tokenizer_config.json"]
