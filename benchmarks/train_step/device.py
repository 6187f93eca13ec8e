"""Where the contenders train, and what they take of it."""

import torch


def device_here() -> torch.device:
    """Where everybody trains: a GPU if there is one."""
    return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")


def wait_for(device: torch.device) -> None:
    """Until it has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def memory_of(device: torch.device) -> dict[str, float]:
    """Of a GPU, the most that this process had there at once, in GiB."""
    return {} if device.type == "cpu" else {"memory": torch.cuda.max_memory_allocated(device) / 2**30}
