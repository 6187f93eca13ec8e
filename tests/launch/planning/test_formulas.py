"""The formulas of a plan, beside DeepSpeed's estimates, torch's own counts, and the bytes that a forward keeps."""

import json
import subprocess
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from data_prep.errors import InputError
from launch.planning import formulas
from launch.planning.formulas import Shape
from launch.planning.hardware import GPUS, find_gpu
from launch.planning.plan import Assumptions, make_plan, shape_of, vocab_size_of
from pipeline.config import load_config, load_run
from pipeline.kernels.attention import cpu
from pipeline.kernels.attention.flops import forward_flops
from pipeline.model.blocks import GatedFeedForward
from pipeline.model.config import ModelConfig, count_parameters
from pipeline.model.token_dropping import token_droppings
from pipeline.objectives import build_objective
from pipeline.training.config import TrainingConfig
from pipeline.training.optimizers.moments import moments_of
from pipeline.training.random_ltd import RandomLtd
from tests.launch.conftest import SPANWRIGHT, STEPS
from tests.pipeline.conftest import make_random_views

VOCAB = 512
MODEL = ModelConfig(d_model=128, d_kv=32, d_ff=320, num_layers=3, num_decoder_layers=2, num_heads=4)
SHAPE = Shape(encoder_rows=192, decoder_rows=64, targets=64)
SAMPLES = 2


def objective_and_views(samples: int = SAMPLES) -> tuple[Any, Any]:
    objective = build_objective({"kind": "denoising"}, MODEL, VOCAB, seed=0)
    views = make_random_views([SHAPE.encoder_rows] * samples, [SHAPE.decoder_rows] * samples, VOCAB, seed=0, tail=0)
    return objective, views


@pytest.mark.parametrize(("share", "samples"), [(1.0, SAMPLES), (0.3, 1)])
def test_flops_are_those_that_training_counts(share: float, samples: int) -> None:
    objective, views = objective_and_views(samples)
    for dropping in token_droppings(objective):
        dropping.kept_share = share
    linear = samples * formulas.linear_flops(MODEL, VOCAB, SHAPE, share)
    attention = samples * formulas.attention_flops(MODEL, SHAPE, share)
    counted = forward_flops(lambda: objective(views))
    if cpu.is_available():
        assert counted == linear + attention
    else:  # of plain products, which compute a causal half in full
        assert linear + attention <= counted <= linear + 2 * attention


def test_by_hand() -> None:
    """One layer of one head on each side, 3 rows read and 2 written, 512 tokens (which need no padding)."""
    model = ModelConfig(d_model=10, d_kv=4, d_ff=6, num_layers=1, num_decoder_layers=1, num_heads=1)
    shape = Shape(encoder_rows=3, decoder_rows=2, targets=2)
    encoder = 3 * (4 * 10 * 4 + 3 * 10 * 6)  # q, k, v, out; gate, up, down
    decoder = 2 * (6 * 10 * 4 + 3 * 10 * 6) + 3 * 2 * 10 * 4  # and q and out of cross-attention; its k and v
    assert formulas.linear_flops(model, VOCAB, shape) == 2 * (encoder + decoder + 2 * 10 * 512)
    assert formulas.attention_flops(model, shape) == 4 * 4 * (3 * 3 + (1 + 2) + 2 * 3)


def test_activations_are_what_a_forward_keeps() -> None:
    objective, views = objective_and_views()
    objective.to(torch.bfloat16)
    for module in objective.modules():
        if isinstance(module, GatedFeedForward):
            module.keeps_all = True  # as on a GPU, which plans are of
    own = {parameter.untyped_storage().data_ptr() for parameter in objective.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if tensor.is_floating_point() and storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        terms = objective(views)
    measured = sum(kept.values())
    assert terms
    estimated = SAMPLES * formulas.activation_bytes(MODEL, SHAPE, checkpointed=False)
    # 0.94 when this was written: the estimate has no embeddings, logits and statistics.
    assert 0.85 < estimated / measured < 1.15, (estimated, measured)


@pytest.mark.parametrize(("gpus", "nodes"), [(8, 1), (8, 8), (4, 100)])
def test_state_is_what_deepspeed_estimates(gpus: int, nodes: int) -> None:
    from deepspeed.runtime.zero.stage3 import estimate_zero3_model_states_mem_needs
    from deepspeed.runtime.zero.stage_1_and_2 import estimate_zero2_model_states_mem_needs

    parameters, largest = 2_783_959_040, 65_798_144
    _, second = estimate_zero2_model_states_mem_needs(parameters, gpus, nodes, cpu_offload=False)
    _, third, _ = estimate_zero3_model_states_mem_needs(parameters, largest, gpus, nodes, cpu_offload=False)
    ranks = gpus * nodes
    assert formulas.state_bytes(parameters, largest, 2, ranks) == pytest.approx(second, rel=1e-6)
    assert formulas.state_bytes(parameters, largest, 3, ranks) == pytest.approx(third, rel=1e-6)
    ordered = [formulas.state_bytes(parameters, largest, stage, ranks) for stage in range(4)]
    assert ordered == sorted(ordered, reverse=True)


@pytest.mark.parametrize("optimizer", get_args(TrainingConfig.model_fields["optimizer"].annotation))
def test_a_checkpoint_has_the_moments_of_its_optimizer(optimizer: str) -> None:
    config = load_config("t5_span", ["data.paths=[/x]"])
    parameters = dict(build_objective(config.objective, MODEL, VOCAB, 0).named_parameters())
    size = sum(4 * p.numel() * (1 + len(moments_of(optimizer, name, p.shape))) for name, p in parameters.items())
    assert formulas.checkpoint_bytes(MODEL, count_parameters(MODEL, VOCAB), optimizer) == size


def test_links_carry_what_the_zero_paper_says() -> None:
    """Section 7: stages 1 and 2 move as much as plain data parallelism (2 P), stage 3 half as much again."""
    whole = formulas.BF16 * 1_000_000
    moved = [formulas.link_bytes(1_000_000, stage, ranks=1_000_000, accumulation=1) / whole for stage in range(4)]
    assert moved == pytest.approx([2, 2, 2, 3], rel=1e-5)
    assert formulas.link_bytes(1_000_000, 2, ranks=1, accumulation=4) == 0
    assert formulas.link_bytes(1_000_000, 3, 2, accumulation=4) == 0.5 * 12 * whole


def test_a_plan_holds_together() -> None:
    config = load_config("t5_span", ["data.paths=[/x]", "model=base", "training.global_batch=4096"])
    plan = make_plan(config, 32_100, GPUS["h100"], Assumptions(64, 8, 0.3, 50.0))
    assert plan.parameters == count_parameters(config.model, 32_100)
    assert shape_of(config) == Shape(525, 133, 133)  # 512 and 114, and room for the pieces of a packed window
    assert plan.micro_batch * plan.accumulation * 64 == 4096
    assert plan.step_seconds == max(plan.compute_seconds, plan.link_seconds)
    assert plan.tokens == 10_000 * 4096 * 568
    assert plan.days == pytest.approx(plan.tokens / plan.tokens_per_second / 86_400)
    assert plan.flops_per_step / plan.compute_seconds == pytest.approx(64 * 0.3 * 989e12)
    slow = make_plan(config, 32_100, GPUS["h100"], Assumptions(64, 8, 0.3, 0.1))
    assert (plan.limits, slow.limits) == ("compute", "links")
    huge = load_config("t5_span", ["data.paths=[/x]", "model=xl", "training.zero_stage=0"])
    assert make_plan(huge, 32_100, GPUS["a100-40"], Assumptions(8, 8, 0.3, 50.0)).limits == "memory"


def test_a_plan_adds_up_phases_and_the_shares_of_tokens_that_layers_keep() -> None:
    phases = "phases=[{at_step: 4000, training: {global_batch: 1024}}, {at_step: 6000, stream: {window: 284}}]"
    config = load_config("t5_span", ["data.paths=[/x]", "training.steps=10000", "training.global_batch=512", phases])
    assumed = Assumptions(8, 8, 0.3, 50.0)
    plan = make_plan(config, 32_100, GPUS["h100"], assumed)
    assert plan.tokens == 568 * (4000 * 512 + 2000 * 1024) + 284 * 4000 * 1024
    ltd = config.model_copy(
        update={
            "phases": (),
            "training": config.training.model_copy(
                update={"random_ltd": RandomLtd(start_share=0.5, full_at_step=5000, share_increment=0.5)}
            ),
        }
    )
    whole, dropping = (
        make_plan(one, 32_100, GPUS["h100"], assumed)
        for one in (ltd.model_copy(update={"training": config.training}), ltd)
    )
    half = 3 * 512 * formulas.forward_flops(config.model, 32_100, shape_of(config), 0.5)
    assert dropping.flops_per_step == pytest.approx((whole.flops_per_step + half) / 2)
    assert dropping.days < whole.days


@pytest.mark.usefixtures("undisturbed")
def test_a_checkpoint_is_as_large_as_one_that_a_run_wrote(prepared: Path) -> None:
    config = load_run(prepared / "undisturbed")
    parameters = count_parameters(config.model, vocab_size_of(config))
    written = sum(path.stat().st_size for path in Path(config.checkpoints, f"step-{STEPS:08d}").glob("*.safetensors"))
    # Beside its tensors a file has a header, which is much in a model this small.
    assert 1 <= written / formulas.checkpoint_bytes(config.model, parameters) < 1.05


def test_wrong_numbers_of_gpus_and_unknown_gpus_are_named() -> None:
    config = load_config("t5_span", ["data.paths=[/x]"])
    with pytest.raises(InputError, match=r"48 ranks cannot share training\.global_batch=128"):
        make_plan(config, 32_100, GPUS["h100"], Assumptions(48, 8, 0.3, 50.0))
    with pytest.raises(InputError, match="Did you mean 'h100'"):
        find_gpu("h10")


def test_the_command_gives_the_plan_as_json() -> None:
    arguments = ["plan", "t5_span", "data.paths=[/x]", "--gpus", "64", "--gpu", "a100", "--mfu", "0.2", "--json"]
    done = subprocess.run([*SPANWRIGHT, *arguments], capture_output=True, text=True, check=False)
    plan = json.loads(done.stdout)
    assert plan["gpu"]["name"] == "a100"
    assert plan["assumed"] == {"gpus": 64, "gpus_per_node": 8, "mfu": 0.2, "network_gb_per_second": 50.0}
    assert plan["days"] > 0
