"""A stack's kernels, recorded once and replayed: CUDA graphs of its forward and its backward.

A GPU is done with the kernels of a small model before Python has started the next one. A graph starts them all at once,
the same kernels in the same order, so the bits of a training do not change. The flat batch is made for it: rows and
sequences are fixed for a run, grids depend on shapes alone, and what is drawn depends on names of rows, in tensors.

Invariants
1. A recording is of one *signature*: shapes, numbers, what is absent or given twice, where the parameters lie. What
   comes often is recorded and lives as long as it comes; shapes that change all the time (MPNet's two streams) run as
   they are.
2. A recording serves one call at a time, from its forward to its backward: layers that run twice before the first
   backward have two.
3. Gradients are copies: whoever keeps them keeps no memory of a graph, which the next replay overwrites.
"""

import contextlib
import dataclasses
import functools
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

OFTEN, OF_CALLS = 3, 8  # this call and those before it

Signature = Any  # hashable


class Replayed:
    """Calls of `layers`, a module that returns a tuple of tensors; replayed in training where they come again.

    ZeRO 3, whose weights are not there between calls, cannot be combined with it.
    """

    def __init__(self, layers: nn.Module) -> None:
        self._layers = layers
        self._recent: deque[Signature] = deque(maxlen=OF_CALLS)
        self._recordings: dict[Signature, list[Recording]] = {}

    def __call__(self, *arguments: Any) -> tuple[Tensor, ...]:
        """`layers(*arguments)`, which are tensors, hashable values, or tuples, lists and dataclasses of them."""
        if not (torch.is_grad_enabled() and self._layers.training):
            return self._layers(*arguments)
        tensors, form = take_apart(arguments)
        places = tuple(x.data_ptr() for x in self._parameters.values())
        signature = (form, tuple(map(_kind, tensors)), places)
        if not self._comes_often(signature):
            return self._layers(*arguments)
        recording = self._recording(signature, tensors, form)
        return _Replay.apply(recording, len(tensors), *tensors, *self._parameters.values())

    @property
    def num_recordings(self) -> int:
        """How many there are now."""
        return sum(map(len, self._recordings.values()))

    @functools.cached_property
    def _parameters(self) -> dict[str, nn.Parameter]:
        return {name: x for name, x in self._layers.named_parameters() if x.requires_grad}

    def _comes_often(self, signature: Signature) -> bool:
        self._recent.append(signature)
        for old in self._recordings.keys() - set(self._recent):
            del self._recordings[old]  # one in use lives until its backward
        return self._recent.count(signature) >= OFTEN

    def _recording(self, signature: Signature, tensors: Sequence[Tensor], form: Any) -> "Recording":
        """One that nobody uses."""
        recordings = self._recordings.setdefault(signature, [])
        free = next((recording for recording in recordings if not recording.is_in_use), None)
        if free is None:
            free = Recording(self._layers, self._parameters, tensors, form)
            recordings.append(free)
        return free


class Recording:
    """The graphs of one call and its backward, the memory they work in, and the places of what goes in and out."""

    def __init__(
        self, layers: nn.Module, parameters: dict[str, nn.Parameter], tensors: Sequence[Tensor], form: Any
    ) -> None:
        self._use: weakref.ref[_Use] | None = None
        self._inputs = [x.detach().clone().requires_grad_(x.requires_grad) for x in tensors]
        # The parameters' memory without their hooks, which belong to the backward that replays.
        own = {name: x.detach().requires_grad_() for name, x in parameters.items()}
        learned = [x for x in (*self._inputs, *own.values()) if x.requires_grad]

        def forward() -> tuple[Tensor, ...]:
            return functional_call(layers, own, put_together(self._inputs, form))

        def backward(outputs: tuple[Tensor, ...]) -> tuple[Tensor | None, ...]:
            return torch.autograd.grad(outputs, learned, self._grad_outputs, allow_unused=True)

        with _beside():  # whatever is compiled or set up at a first call cannot be recorded
            outputs = forward()
            self._grad_outputs = [torch.zeros_like(x) for x in outputs]
            backward(outputs)
        self._forward, self._backward = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._forward, capture_error_mode="thread_local"):
            outputs = forward()
        with torch.cuda.graph(self._backward, pool=self._forward.pool(), capture_error_mode="thread_local"):
            gradients = iter(backward(outputs))
        self._outputs = tuple(x.detach() for x in outputs)
        ordered = (*self._inputs, *own.values())
        found = [next(gradients) if x.requires_grad else None for x in ordered]
        self._learned = [number for number, x in enumerate(found) if x is not None]
        self._gradients = [x for x in found if x is not None]

    @property
    def is_in_use(self) -> bool:
        """Whether a call's backward is still to come."""
        return self._use is not None and self._use() is not None

    def forward(self, tensors: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], "_Use"]:
        """The results of the call with these tensors, to be read before the next one; who keeps the use, keeps it."""
        use = _Use()
        self._use = weakref.ref(use)
        for place, given in zip(self._inputs, tensors, strict=True):
            place.detach().copy_(given)
        self._forward.replay()
        return tuple(x.detach() for x in self._outputs), use

    def backward(self, grad_outputs: Sequence[Tensor | None]) -> dict[int, Tensor]:
        """The gradients of the tensors, then of the parameters, by number; none where nothing depends on it."""
        for place, given in zip(self._grad_outputs, grad_outputs, strict=True):
            place.zero_() if given is None else place.copy_(given)
        self._backward.replay()
        copies = torch._foreach_mul(self._gradients, 1)  # a few kernels for all, where `clone` starts one for each
        return dict(zip(self._learned, copies, strict=True))


class _Use:
    """Lives from a forward to its backward."""


class _Replay(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, recording: Recording, num_tensors: int, *given: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.recording, ctx.num_given = recording, len(given)
        outputs, ctx.use = recording.forward(given[:num_tensors])
        return outputs

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> tuple[Tensor | None, ...]:
        gradients = ctx.recording.backward(grad_outputs)
        ctx.use = None
        return None, None, *map(gradients.get, range(ctx.num_given))


@contextlib.contextmanager
def _beside() -> Iterator[None]:
    """On a stream of its own, as what is recorded will be."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        yield
    torch.cuda.current_stream().wait_stream(stream)


@dataclass(frozen=True)
class _Place:
    """Where a tensor was: its number."""

    number: int


@dataclass(frozen=True)
class _Made:
    """A tuple, or a dataclass by its fields."""

    kind: type
    parts: tuple[Any, ...]


def take_apart(value: Any) -> tuple[list[Tensor], Any]:
    """The tensors in `value`, each once, and its form: hashable, and equal where all but the tensors' content is."""
    tensors: list[Tensor] = []
    numbers: dict[int, int] = {}

    def form_of(value: Any) -> Any:
        if isinstance(value, Tensor):
            if id(value) not in numbers:
                numbers[id(value)] = len(tensors)
                tensors.append(value)
            return _Place(numbers[id(value)])
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = dataclasses.fields(value)
            return _Made(type(value), tuple(form_of(getattr(value, field.name)) for field in fields))
        if type(value) in (tuple, list):
            return _Made(tuple, tuple(map(form_of, value)))
        return value

    return tensors, form_of(value)


def put_together(tensors: Sequence[Tensor], form: Any) -> Any:
    """What has this form, with these tensors in it; lists are tuples now."""
    if isinstance(form, _Place):
        return tensors[form.number]
    if isinstance(form, _Made):
        parts = [put_together(tensors, part) for part in form.parts]
        return tuple(parts) if form.kind is tuple else form.kind(*parts)
    return form


def _kind(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.shape, tensor.dtype, tensor.device, tensor.requires_grad
