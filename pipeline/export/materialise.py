"""Models whose weights come when they are needed: all at once, or a block at a time, so that any size fits in memory.

A model is made with its parameters on the meta device, where they take no memory. `materialise` then fills them all, or
only those outside its stacks of blocks (embeddings, norms, head): each block's are read when it begins and let go of
when it ends.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import nn

from data_prep.errors import SpanwrightError

ReadTensor = Callable[[str], torch.Tensor]
"""A weight by its name; KeyError where there is none."""


class Slot(NamedTuple):
    """One parameter and everywhere it stands (a tied one in several modules): (module, attribute, whole name)."""

    places: tuple[tuple[nn.Module, str, str], ...]

    def fill(self, read: ReadTensor, dtype: torch.dtype) -> None:
        """Put what `read` gives for one of its names there."""
        for _, _, name in self.places:
            try:
                self._put(read(name).to(dtype))
                return
            except KeyError:
                continue
        raise SpanwrightError(f"export: the weight {self.places[0][2]} is not stored")

    def empty(self) -> None:
        """Let go of its numbers."""
        self._put(torch.empty(0, device="meta"))

    def _put(self, tensor: torch.Tensor) -> None:
        parameter = nn.Parameter(tensor, requires_grad=False)
        for module, attribute, _ in self.places:
            setattr(module, attribute, parameter)


@contextmanager
def parameters_on_meta() -> Iterator[None]:
    """Parameters of modules made in here have a shape and no numbers; buffers are as ever."""
    original = nn.Module.register_parameter

    def register(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        shapes_only = None if parameter is None else nn.Parameter(parameter.to("meta"), requires_grad=False)
        original(module, name, parameter if parameter is not None and parameter.is_meta else shapes_only)

    nn.Module.register_parameter = register  # type: ignore[assignment,method-assign]
    try:
        yield
    finally:
        nn.Module.register_parameter = original  # type: ignore[method-assign]


def materialise(model: nn.Module, read: ReadTensor, dtype: torch.dtype, by_block: bool) -> None:
    """Give `model`, made in `parameters_on_meta`, its weights from `read`; SpanwrightError where one is not stored."""
    slots = _slots(model)
    blocks = _outer_blocks(model) if by_block else []
    of_block = [{id(module) for module in block.modules()} for block in blocks]
    inner: list[list[Slot]] = [[] for _ in blocks]
    for slot in slots:
        home = next((n for n, ids in enumerate(of_block) if id(slot.places[0][0]) in ids), None)
        if home is None:
            slot.fill(read, dtype)
        else:
            inner[home].append(slot)
    for block, own in zip(blocks, inner, strict=True):
        _fill_while_running(block, own, read, dtype)


def _slots(model: nn.Module) -> list[Slot]:
    found: dict[int, list[tuple[nn.Module, str, str]]] = {}
    for path, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            found.setdefault(id(parameter), []).append((module, name, f"{path}.{name}" if path else name))
    return [Slot(tuple(places)) for places in found.values()]


def _outer_blocks(model: nn.Module) -> list[nn.Module]:
    """The members of lists of modules that lie in no other such list (T5 has lists inside its blocks)."""
    found: list[nn.Module] = []
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and not any(module in outer.modules() for outer in found):
            found.extend(module)
    return found


def _fill_while_running(block: nn.Module, slots: Sequence[Slot], read: ReadTensor, dtype: torch.dtype) -> None:
    def fill(*_: Any) -> None:
        for slot in slots:
            slot.fill(read, dtype)

    def empty(*_: Any) -> None:
        for slot in slots:
            slot.empty()

    block.register_forward_pre_hook(fill)
    block.register_forward_hook(empty)
