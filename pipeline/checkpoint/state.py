"""The state of training, free of world size and ZeRO stage: fp32 master and moments of each trained parameter,
and what the objective keeps besides (persistent buffers, parameters that are not trained), in its own dtypes.

Invariant: `read` after `write` gives the same bits, whatever number of ranks and ZeRO stage wrote and reads. All calls
are collective: every rank makes them in the same order.

DeepSpeed keeps the state in four ways; each is one small class here:
    no ZeRO, fp32       the parameters are the masters, the optimizer's state is per parameter
    no ZeRO, bf16       a list of fp32 masters beside the parameters
    ZeRO 1 and 2        flat partitions; DeepSpeed's safe_get_full / safe_set_full
    ZeRO 3              partitioned parameters; safe_get_local / safe_set_local, gathered here because the full calls
                        refuse a size that the number of ranks does not divide
Setting masters leaves the 16-bit copies of ZeRO untouched: `refresh` copies them. A schedule-free optimizer steps what
training reads; the master read and written here is then its average, which is evaluated and exported.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pipeline.checkpoint.format import Kind
from pipeline.training.engine import Engine
from pipeline.training.optimizers.flat import masters_beside
from pipeline.training.optimizers.schedule_free import ScheduleFreeAdamW


class _Access(Protocol):
    def get(self, parameter: nn.Parameter, kind: str) -> Tensor: ...

    def set(self, parameter: nn.Parameter, kind: str, value: Tensor) -> None: ...

    def refresh(self) -> None: ...


class TrainingState:
    """The parameters' state behind one interface for every ZeRO stage."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._parameters = dict(engine.parameters())
        self._access = _access(engine, list(self._parameters.values()))

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The full shape of every trained parameter, by name."""
        return {name: tuple(getattr(p, "ds_shape", p.shape)) for name, p in self._parameters.items()}

    @property
    def moments(self) -> dict[str, list[str]] | None:
        """The parameters that have each moment; None where all have both."""
        return self._engine.moments

    def read(self, name: str, kind: Kind) -> Tensor:
        """The full fp32 tensor on CPU, owned by the caller. Collective."""
        value = self._access.get(self._parameters[name], self._stored(kind))
        # Adding +0.0 gives -0.0 the one form that it has after an all-reduce too.
        return value.detach().to("cpu", torch.float32).add(0.0)

    def write(self, name: str, kind: Kind, value: Tensor) -> None:
        """Set this rank's part of the full fp32 tensor `value`."""
        parameter = self._parameters[name]
        self._access.set(parameter, self._stored(kind), value.to(parameter.device))

    def masters(self) -> Iterator[tuple[str, Tensor]]:
        """The fp32 masters sorted by name. Collective."""
        return ((name, self.read(name, "master")) for name in sorted(self._parameters))

    @property
    def buffer_shapes(self) -> dict[str, tuple[int, ...]]:
        """The full shape of every persistent buffer and every parameter that is not trained, by name."""
        return {name: tuple(getattr(b, "ds_shape", b.shape)) for name, b in self._buffers().items()}

    def read_buffers(self) -> dict[str, Tensor]:
        """Their values on CPU, owned by the caller; on ranks other than the first too. Collective."""
        values = {}
        for name, buffer in self._buffers().items():
            with _whole(buffer):
                values[name] = buffer.detach().to("cpu", copy=True).contiguous()
        return values

    def write_buffers(self, values: Mapping[str, Tensor]) -> None:
        """Set them all. Collective."""
        for name, buffer in self._buffers().items():
            with _whole(buffer, modified=True), torch.no_grad():
                buffer.copy_(values[name])

    def _buffers(self) -> dict[str, Tensor]:
        module = self._engine.module
        kept = {*module.state_dict(keep_vars=True)}
        frozen = {name: parameter for name, parameter in module.named_parameters() if name not in self._parameters}
        return {name: buffer for name, buffer in module.named_buffers() if name in kept} | frozen

    def finish_write(self, num_updates: int) -> None:
        """After the last `write`: set the count of updates, refresh the weights forward reads. Collective."""
        for state in self._engine.optimizer.state.values():
            state["step"].fill_(float(num_updates))
        if isinstance(self._engine.optimizer, ScheduleFreeAdamW):
            self._engine.optimizer.combine()
        self._access.refresh()

    @property
    def weight_sums(self) -> dict[str, str]:
        """See Engine.weight_sums."""
        return self._engine.weight_sums

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """Let forward passes read the weights that `masters` are; a schedule-free optimizer trains with others."""
        optimizer = self._engine.optimizer
        if not isinstance(optimizer, ScheduleFreeAdamW):
            yield
            return
        optimizer.swap()
        self._access.refresh()
        try:
            yield
        finally:
            optimizer.swap()
            self._access.refresh()

    def _stored(self, kind: Kind) -> str:
        """What the optimizer calls it."""
        averaged = kind == "master" and isinstance(self._engine.optimizer, ScheduleFreeAdamW)
        return "average" if averaged else kind


def _whole(value: Tensor, modified: bool = False) -> contextlib.AbstractContextManager[Any]:
    """`value` in full while the context lasts: ZeRO 3 partitions parameters that are not trained, too."""
    if not hasattr(value, "ds_id"):
        return contextlib.nullcontext()
    import deepspeed

    return deepspeed.zero.GatheredParameters([value], modifier_rank=0 if modified else None)


def _access(engine: Engine, parameters: list[nn.Parameter]) -> _Access:
    optimizer = engine.deepspeed.optimizer
    if engine.zero_stage == 3:
        return _Partitioned(optimizer, parameters)
    if engine.zero_stage > 0:
        return _FlatPartitions(optimizer)
    return _Replicated(engine.optimizer, masters_beside(optimizer, parameters))


class _Replicated:
    """No ZeRO: every rank holds everything."""

    def __init__(self, adamw: torch.optim.Optimizer, masters: dict[nn.Parameter, Tensor]) -> None:
        self._adamw = adamw
        self._masters = masters

    def get(self, parameter: nn.Parameter, kind: str) -> Tensor:
        master = self._masters[parameter]
        return master if kind == "master" else self._adamw.state[master][kind]

    def set(self, parameter: nn.Parameter, kind: str, value: Tensor) -> None:
        self.get(parameter, kind).data.copy_(value)

    def refresh(self) -> None:
        for parameter, master in self._masters.items():
            parameter.data.copy_(master.data)


class _FlatPartitions:
    """ZeRO 1 and 2."""

    def __init__(self, optimizer: Any) -> None:
        self._optimizer = optimizer

    def get(self, parameter: nn.Parameter, kind: str) -> Tensor:
        from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

        return (
            safe_get_full_fp32_param(parameter) if kind == "master" else safe_get_full_optimizer_state(parameter, kind)
        )

    def set(self, parameter: nn.Parameter, kind: str, value: Tensor) -> None:
        from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state

        if kind == "master":
            safe_set_full_fp32_param(parameter, value)
        else:
            safe_set_full_optimizer_state(parameter, value, kind)

    def refresh(self) -> None:
        self._optimizer.update_lp_params()


class _Partitioned:
    """ZeRO 3: rank r holds elements [r * n, (r + 1) * n) of a parameter, n = size / ranks rounded up."""

    def __init__(self, optimizer: Any, parameters: list[nn.Parameter]) -> None:
        self._optimizer = optimizer
        self._parameters: list[Any] = list(parameters)

    def get(self, parameter: nn.Parameter, kind: str) -> Tensor:
        local = self._local(parameter, kind).contiguous()
        parts = [torch.empty_like(local) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, local)
        shape: torch.Size = parameter.ds_shape  # type: ignore[attr-defined]
        return torch.cat(parts)[: shape.numel()].view(shape)

    def set(self, parameter: nn.Parameter, kind: str, value: Tensor) -> None:
        from deepspeed.utils import safe_set_local_fp32_param, safe_set_local_optimizer_state

        local = self._local(parameter, kind)
        start = local.numel() * dist.get_rank()
        mine = torch.zeros_like(local)
        part = value.reshape(-1)[start : start + local.numel()]
        mine[: part.numel()] = part
        if kind == "master":
            safe_set_local_fp32_param(parameter, mine)
        else:
            safe_set_local_optimizer_state(parameter, mine, kind)

    def refresh(self) -> None:
        for parameter in self._parameters:
            parameter.ds_tensor.data.copy_(self._local(parameter, "master"))
        kept = self._optimizer.persistent_parameters
        if kept:  # small parameters stay gathered between steps: let go of the old copies, gather the new ones
            kept[0].partition(kept)
            kept[0].all_gather(kept)

    def _local(self, parameter: nn.Parameter, kind: str) -> Tensor:
        from deepspeed.utils import safe_get_local_fp32_param, safe_get_local_optimizer_state

        if kind == "master":
            return safe_get_local_fp32_param(parameter)
        return safe_get_local_optimizer_state(parameter, kind)
