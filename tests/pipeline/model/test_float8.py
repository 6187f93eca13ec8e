"""Float8 products of the layers' maps: which maps, how near bfloat16 they stay, and where they are refused."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.func import functional_call

from data_prep.errors import InputError
from pipeline.batch import Batch, Views
from pipeline.kernels.attention import IntervalPattern
from pipeline.model import float8
from pipeline.model.config import ModelConfig
from pipeline.model.encoder_decoder import EncoderDecoder
from pipeline.model.float8 import LEAST_CAPABILITY, compile_maps, use_float8
from pipeline.model.layers import Layers
from pipeline.model.transformer import set_activation_checkpointing, set_cuda_graphs
from tests.pipeline.conftest import make_random_views
from tests.pipeline.kernels.gpu import needs_gpu

# torch's own compiler, when it is imported.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")

VOCAB = 192
CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
SIZES = {"d_model": 64, "d_kv": 32, "d_ff": 96, "num_layers": 2, "num_heads": 2, "dropout_rate": 0.1}
MAP = 0.037
"""How far a product of random matrices is off: e4m3 has 3 bits behind the point, so that rounding moves a number by
0.026 of itself, and both operands are rounded. (Gradients of `tensorwise` are e5m2, with 2 bits: 0.058 with the other.)
"""
RECIPES = ("tensorwise", "rowwise")


def build(**change: object) -> EncoderDecoder:
    return EncoderDecoder(ModelConfig.model_validate({**SIZES, **change}), VOCAB, seed=3).bfloat16()


def views(seed: int = 1) -> Views:
    """41 and 13 rows: no multiples of 16."""
    return make_random_views([23, 0, 1, 17], [5, 0, 2, 6], VOCAB, seed=seed)


def results(model: EncoderDecoder, given: Views) -> list[torch.Tensor]:
    """States, and the gradients of the parameters in order."""
    model.zero_grad()
    states = model.decode(given["decoder"], model.encode(given["encoder"]), given["encoder"])
    states.float().pow(2).mean().backward()
    return [states.detach().float(), *(parameter.grad.float() for parameter in model.parameters())]


def distance(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found.detach().float() - wanted).norm() / wanted.norm())


def test_the_maps_of_all_layers_become_float8_around_the_same_parameters_and_nothing_else() -> None:
    model = build()
    before = dict(model.named_parameters())
    kinds = {name: type(module) for name, module in model.named_modules()}
    use_float8(model, "tensorwise", CPU)
    after = dict(model.named_parameters())
    assert list(after) == list(before)
    assert all(after[name] is before[name] for name in before)
    changed = {name for name, module in model.named_modules() if type(module) is not kinds[name]}
    in_layers = {
        f"{stack}.{name}"
        for stack, layers in model.named_modules()
        if isinstance(layers, Layers)
        for name, module in layers.named_modules()
        if isinstance(module, nn.Linear)
    }
    assert changed == in_layers
    assert len(changed) == 2 * (4 + 3) + 2 * (8 + 3)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_maps_products_are_those_of_operands_rounded_to_float8(recipe: str) -> None:
    """By their largest number over all, or over what is summed together; 23 rows, which is no multiple of 16."""
    layers = Layers([nn.Sequential(nn.Linear(64, 96, bias=False))]).bfloat16()
    use_float8(layers, recipe, CPU)
    generator = torch.Generator().manual_seed(1)
    x, grad = (torch.randn(23, width, generator=generator).bfloat16() for width in (64, 96))
    x *= torch.logspace(-3, 3, 23)[:, None]  # rows of very different sizes
    weight = layers[0][0].weight
    y = layers[0][0](x.requires_grad_())
    y.backward(grad)
    by_row = recipe == "rowwise"
    of_grad = torch.float8_e4m3fn if by_row else torch.float8_e5m2
    wanted = {
        "y": rounded(x, 1, by_row) @ rounded(weight, 1, by_row).T,
        "x": rounded(grad, 1, by_row, of_grad) @ rounded(weight, 0, by_row),
        "weight": rounded(grad, 0, by_row, of_grad).T @ rounded(x, 0, by_row),
    }
    for name, found in {"y": y, "x": x.grad, "weight": weight.grad}.items():
        assert distance(found, wanted[name]) < 2**-8, name  # bfloat16's rounding of operands and result
    exact = x.detach().float() @ weight.detach().float().T
    assert 0.5 * MAP < distance(y, exact) < 1.5 * MAP


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_gpus_products_get_what_they_take(recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shapes and layouts alone: of tensors without data torch checks what it checks on a GPU. 41 rows, filled to 48."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    product, given = torch._scaled_mm, []

    def record(a: torch.Tensor, b: torch.Tensor, **others: object) -> torch.Tensor:
        given.append((*a.shape, b.shape[1], a.dtype))
        return product(a, b, **others)

    monkeypatch.setattr(torch, "_scaled_mm", record)
    with torch.device("meta"), torch.compiler.set_stance("force_eager"):
        layers = Layers([nn.Sequential(nn.Linear(64, 96))]).bfloat16()
        use_float8(layers, recipe, GPU)
        x = torch.empty(41, 64, dtype=torch.bfloat16, requires_grad=True)
        layers[0][0](x).sum().backward()
    of_grad = torch.float8_e4m3fn if recipe == "rowwise" else torch.float8_e5m2
    assert given == [(41, 64, 96, torch.float8_e4m3fn), (41, 96, 64, of_grad), (96, 48, 64, of_grad)]
    with pytest.raises(RuntimeError, match="16"):  # the check is there
        product(
            torch.empty(8, 24, device="meta").to(of_grad),
            torch.empty(8, 24, device="meta").to(of_grad).T,
            scale_a=torch.empty((), device="meta"),
            scale_b=torch.empty((), device="meta"),
        )


def rounded(x: torch.Tensor, summed: int, by_row: bool, dtype: torch.dtype = torch.float8_e4m3fn) -> torch.Tensor:
    """What is left of x; by rows (of which dimension `summed` is summed over) scales are powers of two."""
    x = x.detach().float()
    scale = torch.finfo(dtype).max / (x.abs().amax(summed, keepdim=True) if by_row else x.abs().max())
    scale = scale.log2().floor().exp2() if by_row else scale
    return (x * scale).to(dtype).float() / scale


@pytest.mark.parametrize("recipe", RECIPES)
def test_states_and_gradients_stay_near_bfloat16s_and_their_bits_repeat(recipe: str) -> None:
    plain, model = build(), build()
    use_float8(model, recipe, CPU)
    given = views()
    wanted, found = results(plain, given), results(model, given)
    off = [distance(one, other) for one, other in zip(found, wanted, strict=True)]
    # A row passes a dozen maps and more forward, each off by itself, and as many backward.
    assert MAP / 2 < off[0] < 4 * MAP
    assert max(off) < 10 * MAP
    assert all(map(torch.equal, results(model, given), found))
    set_activation_checkpointing(model, True)
    assert all(map(torch.equal, results(model, given), found))


def test_compiled_maps_are_whole_graphs_with_the_same_bits() -> None:
    """On a GPU they are compiled; what makes kernels of a graph is left out here (the long test has it)."""
    assert_compiled_alike("aot_eager", torch.equal, d_ff=64)  # all maps of one shape


@pytest.mark.long
def test_maps_compiled_to_kernels_differ_by_rounding_alone() -> None:
    """Inductor keeps what lies between two operations in float32: some numbers round to the next one of float8."""
    assert_compiled_alike("inductor", lambda one, other: distance(one, other) < 4 * MAP)


def assert_compiled_alike(backend: str, alike: Callable[[torch.Tensor, torch.Tensor], bool], **size: int) -> None:
    """In training, evaluation, and with other tensors for parameters, as recordings have."""
    model = build(num_layers=1, **size)
    use_float8(model, "tensorwise", CPU)
    compiled = copy.deepcopy(model)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    compile_maps(compiled, backend)
    view = views()["encoder"]
    for x in (model, compiled):
        x.encode(view).float().pow(2).mean().backward()
    gradients = [{name: x.grad for name, x in one.encoder.blocks.named_parameters()} for one in (model, compiled)]
    assert all(alike(gradients[1][name].float(), wanted.float()) for name, wanted in gradients[0].items())
    with torch.no_grad():
        wanted = model.encode(view)
        assert alike(compiled.encode(view).float(), wanted.float())
    own = {name: x.detach().clone().requires_grad_() for name, x in compiled.encoder.named_parameters()}
    found = replaced(compiled, own, view)
    assert alike(found.float(), wanted.float())
    counters = torch._dynamo.utils.counters
    assert counters["stats"]["unique_graphs"] == counters["frames"]["total"] > 2  # none gave up at the limit
    assert not counters["graph_break"]
    torch._dynamo.reset()


def replaced(model: EncoderDecoder, parameters: dict[str, torch.Tensor], view: Batch) -> torch.Tensor:
    pattern = IntervalPattern.full(view.cu_seqlens, len(view.tokens), view.cu_seqlens, len(view.tokens))
    return functional_call(model.encoder, parameters, (model.embedding(view.tokens), view, pattern))


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_model_learns_as_it_does_in_bfloat16(recipe: str) -> None:
    plain, ours = trained(None), trained(recipe)
    assert plain != ours
    assert ours[-1] < 0.1 * ours[0]
    # A step of a loss that falls by a fifth in each is off by less than a tenth of that.
    assert all(abs(one - other) < 0.02 * plain[0] for one, other in zip(plain, ours, strict=True))


def trained(recipe: str | None) -> list[float]:
    """The losses of 12 steps of learning one target, with float32 masters of the bfloat16 weights."""
    model = build(num_layers=1, dropout_rate=0.0)
    if recipe is not None:
        use_float8(model, recipe, CPU)
    given, losses = views(), []
    masters = [parameter.detach().float().requires_grad_() for parameter in model.parameters()]
    optimizer = torch.optim.AdamW(masters, lr=5e-3)
    target = torch.randn(13, 64, generator=torch.Generator().manual_seed(1))
    for _ in range(12):
        states = model.decode(given["decoder"], model.encode(given["encoder"]), given["encoder"])
        loss = (states[:13].float() - target).pow(2).mean()
        model.zero_grad()
        loss.backward()
        for master, parameter in zip(masters, model.parameters(), strict=True):
            master.grad = parameter.grad.float()
        optimizer.step()
        with torch.no_grad():
            for master, parameter in zip(masters, model.parameters(), strict=True):
                parameter.copy_(master)
        losses.append(loss.item())
    return losses


def test_without_torchao_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(float8, "is_installed", lambda package: False)
    with pytest.raises(
        InputError, match=r"training\.float8=rowwise needs torchao, .*pip install -e \.\[gpu\], or leave"
    ):
        use_float8(build(), "rowwise", CPU)


@pytest.mark.parametrize(
    ("found", "hip", "refused"), [((8, 0), None, True), ((8, 9), None, False), ((9, 0), "6.4", True)]
)
def test_gpus_without_products_of_float8_are_refused(
    monkeypatch: pytest.MonkeyPatch, found: tuple[int, int], hip: str | None, refused: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: found)
    monkeypatch.setattr(torch.version, "hip", hip)
    model = build()
    if not refused:
        return use_float8(model, "tensorwise", GPU)
    with pytest.raises(InputError, match=r"needs a GPU with products of float8 .*and this one has [89]\.0"):
        use_float8(model, "tensorwise", GPU)


@pytest.mark.parametrize("size", [{"d_model": 72}, {"d_ff": 100}, {"d_kv": 12}])
def test_sizes_that_no_product_takes_are_refused(size: dict[str, int]) -> None:
    with pytest.raises(InputError, match=r"multiples of 16 columns, and layer 0\.\S+ has \d+ and \d+: change model"):
        use_float8(build(**size), "tensorwise", CPU)


@needs_gpu
@pytest.mark.parametrize("recipe", RECIPES)
def test_on_a_gpu_results_are_near_the_emulations_and_replayed_they_are_the_same(recipe: str) -> None:
    if torch.cuda.get_device_capability() < LEAST_CAPABILITY["cuda"]:
        pytest.skip("no products of float8")
    emulated, model, replayed = (build(dropout_rate=0.0).to(device) for device in (CPU, GPU, GPU))
    set_cuda_graphs(replayed, True)
    for one, device in ((emulated, CPU), (model, GPU), (replayed, GPU)):
        use_float8(one, recipe, device)
    for seed in range(6):  # from the third on as a recording
        given = views(seed)
        on_gpu = {name: view.to("cuda") for name, view in given.items()}
        found, again = results(model, on_gpu), results(replayed, on_gpu)
        assert all(map(torch.equal, found, again))
        assert all(
            distance(x.cpu(), wanted) < 4 * MAP for x, wanted in zip(found, results(emulated, given), strict=True)
        )
    assert replayed.encoder.replayed is not None
    assert replayed.encoder.replayed.num_recordings == 1
