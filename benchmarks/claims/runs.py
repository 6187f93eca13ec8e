"""The matched runs behind the claims: ordinary Spanwright runs in a cache folder, each trained once.

Runs of one seed see the same windows in the same order, as many tokens in a step, with one rate and schedule and models
of one shape. What differs is the recipe's own, and what `SCALED` and `ALLOWED` say.

    CACHE/data/                     the dataset
    CACHE/SIZE/RECIPE-seed-N/       a run folder for each recipe and seed
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.claims.flops import training_flops
from benchmarks.claims.heldout import HeldOutText
from data_prep.shards import Dataset
from data_prep.tokenizer import Tokenizer
from launch.stages import run_stages
from pipeline.config import RunConfig, load_config
from pipeline.evaluation.encoding import TextEncoder
from pipeline.evaluation.habits import Habits
from pipeline.evaluation.model import TrainedModel
from pipeline.evaluation.objective import first_objective, load_objective
from pipeline.training.assembly import open_data

HERE = Path(__file__).parent
WINDOW = 126  # with [CLS] and [SEP] 128 positions
COMPUTE_SHARE = {"3ml": 0.78}  # of BERT's (Liao et al. 2022, abstract); all others read as many tokens as BERT
ENCODER_DECODERS = ("t5_span", "ul2")
# Numbers that presuppose 12 layers or a batch of thousands, scaled down.
SCALED = {
    "3ml": ("objective.late_layers=1",),
    "mae_lm": ("objective.late_layers=1",),
    "electra": ("model.architecture=electra",),
    "rts": ("model.architecture=electra",),
    "cocondenser": ("objective.early_layer=2", "objective.head_layers=1"),
}


@dataclass(frozen=True)
class Size:
    """How large the comparison is: `steps` updates of `windows` windows of WINDOW tokens."""

    steps: int
    windows: int

    @property
    def tokens(self) -> int:
        """Tokens of text that a run reads."""
        return self.steps * self.windows * WINDOW


class Runs:
    """The runs of one size in a cache folder. `data` is a file with a `data:` section; None: the dataset is there."""

    def __init__(self, cache: Path, size: Size, data: Path | None = HERE / "corpus.yaml") -> None:
        self.cache, self.size, self._data = cache.resolve(), size, data

    def prepare(self) -> None:
        """Make the dataset; where it is there already nothing is done."""
        run_stages(self.config("bert", 0), ("prep",))

    def train(self, recipe: str, seed: int) -> None:
        """Train from where the run stands; where it is finished nothing is done."""
        run_stages(self.config(recipe, seed), ("train",))

    def config(self, recipe: str, seed: int, *overrides: str) -> RunConfig:
        """The run of a recipe and a seed, as long as it may be; with `overrides`, the same asked another question."""
        share = COMPUTE_SHARE.get(recipe)
        if share is None:
            return self._config(recipe, seed, self.size.steps, *overrides)
        flops = {name: self.step_flops(name, seed) for name in ("bert", recipe)}
        steps = max(2, round(share * self.size.steps * flops["bert"] / flops[recipe]))
        return self._config(recipe, seed, steps, *overrides)

    def step_flops(self, recipe: str, seed: int) -> int:
        """FLOPs of the first step of a run."""
        config = self._config(recipe, seed, self.size.steps)
        return training_flops(config, open_data(config).micro_batches[0].views, self.tokenizer.vocab_size)

    @property
    def folder(self) -> Path:
        """Where the runs of this size lie."""
        return self.cache / f"{self.size.steps}x{self.size.windows}"

    @cached_property
    def dataset(self) -> Dataset:
        """What all runs read."""
        return Dataset.open(self.cache / "data")

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The dataset's tokenizer."""
        return Tokenizer.load(self.dataset.tokenizer_folder)

    @cached_property
    def heldout(self) -> HeldOutText:
        """What encoders are asked about."""
        return HeldOutText(self.dataset, self.tokenizer, WINDOW)

    def encoder(self, recipe: str, seed: int, trained: bool = True) -> TextEncoder:
        """The encoder of a run, trained or with its first weights."""
        config, vocab_size = self.config(recipe, seed), self.tokenizer.vocab_size
        objective: Any = (load_objective if trained else first_objective)(config, vocab_size)
        return TextEncoder(TrainedModel(objective.model, vocab_size), Habits.of_run(config, self.tokenizer.special))

    def _config(self, recipe: str, seed: int, steps: int, *overrides: str) -> RunConfig:
        windows, window, own = self.size.windows, WINDOW, SCALED.get(recipe, ())
        if recipe == "cocondenser":  # a piece is cut into two spans, each as long as the windows of the others
            windows, window = windows // 2, 2 * WINDOW
            own = (*own, f"objective.contrast.group={windows}")
        model = "encoder_decoder" if recipe in ENCODER_DECODERS else "encoder"
        return load_config(
            recipe,
            [
                f"data={self._data}" if self._data else "data.paths=[]",
                f"data.dir={self.cache / 'data'}", f"model={HERE / model}.yaml", f"stream.window={window}",
                f"training.steps={steps}", f"training.global_batch={windows}", f"training.micro_batch={windows}",
                "training.learning_rate=3e-3", "training.betas=[0.9, 0.98]", "training.weight_decay=0.01",
                f"training.schedule={{kind: cosine, warmup_steps: {max(1, steps // 10)}}}",
                "training.heldout_samples=64", "training.loader_workers=0", "training.threads_per_rank=1",
                f"training.log_every={max(1, steps // 4)}", "export.to=[]", f"run.seed={seed}",
                f"run.dir={self.folder / f'{recipe}-seed-{seed}'}", *own, *overrides,
            ],
        )  # fmt: skip
