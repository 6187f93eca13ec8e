"""Masking as a torch operator: the kernel's bits, and one node of a compiled graph."""

import gc
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.corruption.corruption import Corruption
from pipeline.corruption.pieces import Pieces, gather_pieces
from pipeline.kernels import masking
from pipeline.kernels.masking import operator
from pipeline.kernels.masking.device_text import Text, text_on
from tests.pipeline.kernels.masking.cases import (
    COLUMNS,
    MAX_PIECES,
    WINDOW,
    assert_equal_views,
    corruptions,
    random_sample,
    save_similar_table,
)


@pytest.fixture(scope="module")
def some_corruptions(tmp_path_factory: pytest.TempPathFactory) -> list[Corruption]:
    """Every layout is among them."""
    save_similar_table(tmp_path_factory.mktemp("table"))
    made = corruptions(WINDOW, MAX_PIECES, 11)
    assert {each.config.layout.kind for each in made} == {
        "sentinel_targets", "full_reconstruction", "in_place", "visible_only", "permuted"
    }  # fmt: skip
    return made


def some_text(seed: int, num_samples: int) -> tuple[Pieces, Text]:
    rng = np.random.default_rng(seed)
    pieces = gather_pieces([random_sample(rng, WINDOW) for _ in range(num_samples)], COLUMNS)
    return pieces, text_on(pieces, torch.device("cpu"))


def test_it_gives_the_kernels_bits(some_corruptions: list[Corruption]) -> None:
    for seed, made in enumerate(some_corruptions):
        pieces, text = some_text(seed, 3)
        got = masking.mask(made._plan, text)
        for name, view in masking.mask(made._plan, pieces).items():
            assert_equal_views(view.to("cpu"), got[name], f"{made.config} {name}")


def test_torch_finds_its_schema_and_its_fake_kernel_right(some_corruptions: list[Corruption]) -> None:
    for seed, made in enumerate(some_corruptions[::4]):
        plan, (_, text) = made._plan, some_text(seed, 2)
        numbers = (text.tokens, text.offsets, text.samples, text.sample_offsets, text.positions)
        columns = [text.columns[name] for name in plan.columns]
        arguments = (operator._number(plan), *numbers, columns, text.longest_sample)
        torch.library.opcheck(
            torch.ops.spanwright.mask.default, arguments, test_utils=("test_schema", "test_faketensor")
        )


def test_a_compiled_function_holds_it_without_a_break_for_texts_of_any_length(
    some_corruptions: list[Corruption],
) -> None:
    made = some_corruptions[0]
    weight = torch.randn(made.vocab_size, 8, generator=torch.Generator().manual_seed(0))
    graphs = list[torch.fx.GraphModule]()

    def count(graph: torch.fx.GraphModule, _: list[torch.Tensor]) -> torch.fx.GraphModule:
        graphs.append(graph)
        return graph

    def embedded(text: Text) -> torch.Tensor:
        return weight[masking.mask(made._plan, text)["encoder"].tokens].sum(0)

    compiled = torch.compile(embedded, fullgraph=True, dynamic=True, backend=count)
    for seed in range(4):
        _, text = some_text(seed, 3)
        assert torch.equal(compiled(text), embedded(text))
    assert len(graphs) == 1
    assert torch.ops.spanwright.mask in [node.target for node in graphs[0].graph.nodes]


def test_the_operator_keeps_no_plan_alive(tmp_path: Path) -> None:
    save_similar_table(tmp_path)
    corruptions.cache_clear()
    made = corruptions(WINDOW, MAX_PIECES, 500)[0]
    masking.mask(made._plan, some_text(0, 1)[1])
    plan = weakref.ref(made._plan)
    corruptions.cache_clear()
    del made
    gc.collect()
    assert plan() is None
