import pytest
import torch
from transformers.models.t5.modeling_t5 import T5Attention

from pipeline.batch import Batch
from pipeline.model.config import ModelConfig
from pipeline.model.positions.t5 import RelativePositions, relative_position_bucket


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(("num_buckets", "max_distance"), [(32, 128), (8, 20), (64, 200)])
def test_buckets_are_those_of_t5(bidirectional: bool, num_buckets: int, max_distance: int) -> None:
    relative = torch.arange(-3000, 3001)
    expected = T5Attention._relative_position_bucket(relative, bidirectional, num_buckets, max_distance)
    assert relative_position_bucket(relative, bidirectional, num_buckets, max_distance).tolist() == expected.tolist()


@pytest.mark.parametrize("bidirectional", [True, False])
def test_no_bucket_changes_beyond_the_maximum_distance(bidirectional: bool) -> None:
    buckets = relative_position_bucket(torch.tensor([-5000, -128, 128, 5000]), bidirectional, 32, 128).tolist()
    assert buckets[0] == buckets[1]
    assert buckets[2] == buckets[3]


def test_positions_with_gaps_are_handed_on_and_contiguous_ones_are_not(view) -> None:
    config = ModelConfig(d_model=8, d_ff=8, num_layers=1, num_heads=2)
    positions = RelativePositions(config, bidirectional=True)
    contiguous: Batch = view([[1, 2, 3], [4], [5, 6]], num_rows=8)
    assert positions.bias(contiguous).q_positions is None
    gapped = view([[1, 2, 3], [4], [5, 6]], num_rows=8)
    gapped.positions[2] = 7
    assert positions.bias(gapped).q_positions is gapped.positions
