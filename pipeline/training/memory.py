"""What to say when a GPU is full."""

from pipeline.training.config import TrainingConfig
from pipeline.training.rank import Rank


def no_memory(training: TrainingConfig, rank: Rank) -> str:
    """What a user can do about a GPU that is full."""
    advice = [f"training.micro_batch below {training.micro_batch}"] if training.micro_batch > 1 else []
    if not training.activation_checkpointing:
        advice.append("training.activation_checkpointing=true")
    if training.zero_stage < 3:
        advice.append(f"training.zero_stage above {training.zero_stage} (with several ranks)")
        if training.cuda_graphs is not False:
            advice.append("training.cuda_graphs=false, since graphs hold their activations between steps")
    return (
        f"rank {rank.index}: its GPU has no memory left (its tensors took {rank.gpu_memory_gib or 0.0:.1f} GiB): "
        f"{'; or '.join(advice)}. The same command continues from the newest checkpoint."
    )
