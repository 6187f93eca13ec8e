"""DeepSpeed's home: an objective under ZeRO 0-3 that steps exactly as plain torch would on the whole global batch.

Invariant: after `backward` of every micro-batch of a step, the gradient of every parameter is that of
"sum over the global batch / count over the global batch", whatever the number of ranks and micro-batches. DeepSpeed
averages over the ranks and divides by the accumulation steps; both are undone here.

1. `Engine(...)`: the optimizer (decoupled decay; none on 1-D parameters) under DeepSpeed
2. `forward(views)` -> {term: (sum, count)}
3. `backward(loss, last)`: local part of the global loss; `last` marks the last micro-batch of the step
4. `step(learning_rate)` -> the global gradient norm before clipping; a judge of it may leave the update out
"""

import functools
import logging
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.batch import Views
from pipeline.model.token_dropping import token_droppings
from pipeline.training.config import TrainingConfig
from pipeline.training.deepspeed_config import clips_itself, derive_deepspeed_config
from pipeline.training.embedding_table import EmbeddingTable
from pipeline.training.exchange import exchange_by_sending
from pipeline.training.observing import Observer
from pipeline.training.optimizers.build import build_optimizer
from pipeline.training.optimizers.first_gradients import write_first_gradients
from pipeline.training.optimizers.flat import first_state, lay_out
from pipeline.training.optimizers.groups import REST, groups_of
from pipeline.training.optimizers.moments import names_by_moment
from pipeline.training.optimizers.muon import Muon
from pipeline.training.optimizers.rms_adamw import RmsScaledAdamW
from pipeline.training.optimizers.schedule_free import ScheduleFreeAdamW
from pipeline.training.optimizers.zero_norm import measure_without_copies
from pipeline.training.rank import Rank
from pipeline.training.stopwatch import Stopwatch
from pipeline.training.update_gate import Judge, UpdateGate

Terms = dict[str, tuple[Tensor, int]]


class Engine:
    """An objective in training. The state of its parameters is read and set by pipeline.checkpoint.state."""

    def __init__(
        self,
        objective: nn.Module,
        config: TrainingConfig,
        rank: Rank,
        overrides: Mapping[str, Any] | None = None,
        table: EmbeddingTable | None = None,
    ) -> None:
        """`overrides` of DeepSpeed's config; `table` is what `statistics` tell the variability of."""
        config = config.model_copy(update={"zero_stage": _stage(config.zero_stage, rank)})
        self.rank = rank
        self.zero_stage = config.zero_stage
        shapes = {name: tuple(p.shape) for name, p in objective.named_parameters() if p.requires_grad}
        self.names = tuple(shapes)
        self.moments = names_by_moment(config.optimizer, shapes)
        """The parameters that have each moment; None where all have both."""
        self._max_grad_norm = config.max_grad_norm if clips_itself(config) else None
        self._frozen: frozenset[str] = frozenset()
        self._freeze_at_first(objective, config)
        self.deepspeed = _initialize(objective, config, rank, overrides or {})
        _spare_a_rank_alone(self.deepspeed, rank)
        if self.zero_stage in (1, 2) and rank.world_size > 1 and rank.device.type == "cpu":
            exchange_by_sending(self.deepspeed.optimizer)
        if self.zero_stage in (1, 2):
            measure_without_copies(self.deepspeed.optimizer)
        self._objective: Any = self.module
        self.forward_time = Stopwatch(rank.device)
        _create_moments(self.deepspeed)
        layout = lay_out(self.deepspeed, self.zero_stage)
        if isinstance(self.optimizer, RmsScaledAdamW | Muon):
            self.optimizer.lay_out(layout)
        self._observer = Observer(self.names, layout, self._evaluated, table)
        self._gate = UpdateGate(self.optimizer, self._observer.gradients)
        self._grad_norm = 0.0

    @property
    def module(self) -> nn.Module:
        """The objective."""
        return self.deepspeed.module

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The optimizer that DeepSpeed drives (over flat partitions, under ZeRO)."""
        return self.deepspeed.basic_optimizer

    def parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Trained parameters by name, in the order of definition; a shared one once."""
        return ((name, parameter) for name, parameter in self.module.named_parameters() if parameter.requires_grad)

    @property
    def weight_sums(self) -> dict[str, str]:
        """Of a schedule-free optimizer: the hexadecimal sum of the weights of its average, by group."""
        if not isinstance(self.optimizer, ScheduleFreeAdamW):
            return {}
        state = self.optimizer.state
        return {group["group"]: float(state[tensor]["weight_sum"]).hex() for tensor, group in _stepped(self.deepspeed)}

    @weight_sums.setter
    def weight_sums(self, given: Mapping[str, str]) -> None:
        averaged = isinstance(self.optimizer, ScheduleFreeAdamW)
        for tensor, group in _stepped(self.deepspeed) if averaged else ():
            self.optimizer.state[tensor]["weight_sum"].fill_(float.fromhex(given.get(group["group"], "0x0p0")))

    def counts(self, views: Views) -> dict[str, int]:
        """What each loss term counts in one micro-batch, known before its forward."""
        return self._objective.counts(views)

    def predict(self, views: Views) -> Tensor:
        """The model's best guess where the labels are (see pipeline.objectives). Collective under ZeRO-3."""
        return self._objective.predict(views)

    def begin_step(self, step: Sequence[Views]) -> None:
        """Show the objective this rank's micro-batches of a step before the first forward, if it asks for them."""
        begin = getattr(self._objective, "begin_step", None)
        if begin is not None:
            with self.forward_time.running():
                begin(step, self.rank.world_size, self.deepspeed)

    def forward(self, views: Views) -> Terms:
        """The objective's loss terms on one micro-batch: name -> (sum over its labels, count)."""
        with self.forward_time.running(), self._observer.forward():
            return self.deepspeed(views)

    def backward(self, loss: Tensor, last: bool) -> None:
        """Add the gradient of `loss`, this micro-batch's part of the global batch's loss; `last` of the step or not."""
        self.deepspeed.set_gradient_accumulation_boundary(last)
        self.deepspeed.backward(loss * self.rank.world_size, scale_wrt_gas=False)

    def freeze(self, groups: frozenset[str]) -> None:
        """Let these groups of parameters have no gradient from now on, and all others have theirs."""
        self._frozen = groups

    def keep_tokens(self, share: float | None) -> None:
        """Let middle layers train on this share of the tokens from now on (None: on all)."""
        for dropping in token_droppings(self.module):
            dropping.kept_share = 1.0 if share is None else share

    def observe(self, observed: bool) -> None:
        """Whether gradients, logits and embeddings of the step that begins are measured, for `statistics`."""
        self._observer.begin(observed)

    def step(
        self, learning_rate: float, group_rates: Mapping[str, float] | None = None, judge: Judge | None = None
    ) -> float:
        """Clip, update the weights, drop the gradients; returns the norm of the global gradient before clipping.

        `judge` is asked once, with that norm, before the update: no update is made where it says False.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = (group_rates or {}).get(group["group"], learning_rate)
        norm = float(self._clip()) if self._max_grad_norm is not None else None
        with self._gate.asking(judge, lambda: self._norm_now() if norm is None else norm):
            self.deepspeed.step()
        self._grad_norm = self._norm_now() if norm is None else norm
        return self._grad_norm

    def statistics(self) -> dict[str, float]:
        """What was measured in the step just made (pipeline/training/observing.py). Collective where observed."""
        return self._observer.take(self._grad_norm)

    def _evaluated(self, stepped: Tensor) -> Tensor:
        """The weights that are evaluated and saved in place of a tensor that the optimizer steps."""
        averaged = isinstance(self.optimizer, ScheduleFreeAdamW)
        return self.optimizer.state[stepped]["average"] if averaged else stepped

    def _norm_now(self) -> float:
        """DeepSpeed's norm of this step, which it has before it updates."""
        return float(self.deepspeed.optimizer._global_grad_norm)

    def _freeze_at_first(self, objective: nn.Module, config: TrainingConfig) -> None:
        """Gradients of groups that will be frozen pass a gate; zeros leave the moments zero as well."""
        for name, group in groups_of(config.groups, self.names).items():
            if group != REST and config.groups[group].frozen_steps:
                gate = functools.partial(self._zero_if_frozen, group)
                objective.get_parameter(name).register_hook(gate)

    def _zero_if_frozen(self, group: str, gradient: Tensor) -> Tensor | None:
        return torch.zeros_like(gradient) if group in self._frozen else None

    def _clip(self) -> Tensor:
        parameters = [parameter for _, parameter in self.parameters()]
        return nn.utils.clip_grad_norm_(parameters, self._max_grad_norm or math.inf)


def _initialize(objective: nn.Module, config: TrainingConfig, rank: Rank, overrides: Mapping[str, Any]) -> Any:
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import deepspeed
        import deepspeed.ops

        if rank.device.type == "cpu":
            # An all-reduce for CPU inference that training never calls: building it would need a compiler, half a
            # minute, and a lock file that a killed build leaves behind for ever.
            deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        deepspeed.init_distributed(dist_backend=torch.distributed.get_backend())
        engine, *_ = deepspeed.initialize(
            model=objective,
            optimizer=build_optimizer(objective, config),
            config=derive_deepspeed_config(config, rank.world_size, overrides),
        )
    return engine


def _stage(asked: int, rank: Rank) -> int:
    """Of a rank alone ZeRO 2 shares nothing that ZeRO 1 does not, and puts gradients through buckets, which on a CPU
    takes more time and memory. On a GPU its gradients in float32 come and go with each step.
    """
    return 1 if asked == 2 and rank.world_size == 1 and rank.device.type == "cpu" else asked


def _spare_a_rank_alone(engine: Any, rank: Rank) -> None:
    """A rank alone has the sum of all ranks already: DeepSpeed's bfloat16 optimizer would copy every gradient twice."""
    if rank.world_size == 1 and hasattr(engine.optimizer, "get_grads_for_reduction"):
        engine.enable_backward_allreduce = False
        write_first_gradients(engine.optimizer)


def _create_moments(engine: Any) -> None:
    """The optimizer's state before the first step, so that it can be set, and no step was ever taken by start-up.

    DeepSpeed links the parameters to the flat moments after the first group's first step, when the second group has
    none yet (it then misses them for ever): here all exist when it links.
    """
    optimizer = engine.basic_optimizer
    for parameter, group in _stepped(engine):
        averaged = ("average",) if isinstance(optimizer, ScheduleFreeAdamW) else ()
        optimizer.state[parameter] = first_state(parameter, (*averaged, *group["moments"]))
    link = getattr(engine.optimizer, "_lazy_init_hp_params_optimizer_state", None)
    if link is not None:
        link()


def _stepped(engine: Any) -> Iterator[tuple[Tensor, Mapping[str, Any]]]:
    """Every tensor that the optimizer steps, and the options of its group."""
    groups = engine.basic_optimizer.param_groups
    flats = getattr(engine.optimizer, "fp32_partitioned_groups_flat", None)
    if flats:  # ZeRO 3 empties the optimizer's own lists
        for number, flat in enumerate(flats):
            yield flat, groups[engine.optimizer.sub_group_to_group_id[number]]
    else:
        yield from ((parameter, group) for group in groups for parameter in group["params"])
