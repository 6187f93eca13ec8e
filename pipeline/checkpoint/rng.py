"""The generators of this process. Training draws from none of them; a library might, so they are saved all the same."""

import hashlib
import random
from typing import Any

import numpy as np
import torch


def seed_generators(seed: int, rank: int) -> None:
    """Start every generator of this rank of a run from the run's seed."""
    digest = hashlib.sha256(f"{seed}/generators/{rank}".encode()).digest()
    torch.manual_seed(int.from_bytes(digest[:8], "little", signed=True))
    np.random.seed(int.from_bytes(digest[8:12], "little"))
    random.seed(digest)


def capture_generators() -> dict[str, Any]:
    """The state of every generator as plain JSON values."""
    _, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    version, internal, next_gauss = random.getstate()
    return {
        "torch": _hex(torch.get_rng_state()),
        "cuda": [_hex(state) for state in torch.cuda.get_rng_state_all()] if torch.cuda.is_available() else [],
        "numpy": {
            "keys": [int(key) for key in keys],
            "position": int(position),
            "has_gauss": int(has_gauss),
            "gauss": float(gauss),
        },
        "python": {"version": version, "internal": list(internal), "next_gauss": next_gauss},
    }


def restore_generators(state: dict[str, Any]) -> None:
    """Put every generator back to a captured state."""
    torch.set_rng_state(_bytes(state["torch"]))
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([_bytes(text) for text in state["cuda"]])
    numpy = state["numpy"]
    keys = np.array(numpy["keys"], dtype=np.uint32)
    np.random.set_state(("MT19937", keys, numpy["position"], numpy["has_gauss"], numpy["gauss"]))
    python = state["python"]
    random.setstate((python["version"], tuple(python["internal"]), python["next_gauss"]))


def _hex(state: torch.Tensor) -> str:
    return state.numpy().tobytes().hex()


def _bytes(text: str) -> torch.Tensor:
    return torch.frombuffer(bytearray.fromhex(text), dtype=torch.uint8)
