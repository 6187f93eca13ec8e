from pathlib import Path

import pytest
import torch

from data_prep.errors import InputError
from data_prep.tokenizer import Tokenizer
from pipeline.batch import Views
from pipeline.export.fill_in import fill_in
from pipeline.export.huggingface import export_hf
from pipeline.objectives import build_objective


@pytest.mark.parametrize("prompt", ["no gap", "<extra_id_1> starts at one", "<extra_id_0> <extra_id_0>", ""])
def test_gaps_that_are_not_numbered_in_order_are_refused(prompt: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="<extra_id_0>, <extra_id_1>"):
        fill_in(tmp_path, ["a <extra_id_0> b", prompt])


@pytest.mark.parametrize("decoder_layers", [2, 3])
def test_an_untrained_model_fills_every_gap_and_leaves_the_rest(
    decoder_layers: int, model_config, tokenizer_folder: Path, tmp_path: Path
) -> None:
    config = model_config.model_copy(update={"num_decoder_layers": decoder_layers})
    objective = build_objective({"kind": "denoising"}, config, 1000, seed=0)
    out = export_hf(dict(objective.named_parameters()), config, tokenizer_folder, tmp_path / "hf")
    (filled,) = fill_in(out, ["def <extra_id_0>(self):\n    return <extra_id_1>\n"], max_span_tokens=5)
    assert len(filled.spans) == 2
    assert filled.text == f"def {filled.spans[0]}(self):\n    return {filled.spans[1]}\n"
    assert "<extra_id_" not in filled.text


def test_a_model_that_has_learned_the_spans_gives_them_back(
    model_config, tokenizer_folder: Path, view, tmp_path: Path
) -> None:
    tokenizer = Tokenizer.load(tokenizer_folder)
    s0, s1, s2 = tokenizer.special.sentinels[:3]
    eos, pad = tokenizer.special.eos, tokenizer.special.pad

    def ids(text: str) -> list[int]:
        return tokenizer.encode(text).tolist()

    source = [*ids("def "), s0, *ids("(self):\n    return "), s1, *ids("\n"), eos]
    labels = [s0, *ids("decode"), s1, *ids("self.value + 1"), s2, eos]
    views: Views = {"encoder": view([source]), "decoder": view([[pad, *labels[:-1]]], labels=[labels])}
    objective = build_objective({"kind": "denoising"}, model_config, tokenizer.vocab_size, seed=0)
    optimizer = torch.optim.AdamW(objective.parameters(), lr=1e-2)
    for _ in range(60):
        total, count = objective(views)["denoising"]
        optimizer.zero_grad()
        (total / count).backward()
        optimizer.step()
    out = export_hf(dict(objective.named_parameters()), model_config, tokenizer_folder, tmp_path / "hf")
    (filled,) = fill_in(out, ["def <extra_id_0>(self):\n    return <extra_id_1>\n"])
    assert filled.spans == ("decode", "self.value + 1")
    assert filled.text == "def decode(self):\n    return self.value + 1\n"
