"""One rank of a distributed training: who am I, on which device, and how to talk to the others.

The environment is torchrun's: RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT. A launcher on this machine may
hand over the listening socket of the rendezvous (SPANWRIGHT_LISTEN_FD): then no other process can take its port. A
cluster that promises GPUs says so (SPANWRIGHT_GPUS): without them a rank refuses, rather than train on a CPU.
"""

import datetime
import os
import socket
from dataclasses import dataclass

import torch
import torch.distributed as dist

from data_prep.errors import InputError

LISTEN_FD = "SPANWRIGHT_LISTEN_FD"
GPUS = "SPANWRIGHT_GPUS"
_TIMEOUT = datetime.timedelta(minutes=30)


@dataclass(frozen=True)
class Rank:
    """This process among the `world_size` processes that train together."""

    index: int
    world_size: int
    local_index: int
    local_world_size: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Rank 0 writes what is written once: metrics, progress, manifests."""
        return self.index == 0

    @property
    def gpu_memory_gib(self) -> float | None:
        """The most that tensors of this process took of its GPU at once; None on a CPU."""
        return torch.cuda.max_memory_allocated(self.device) / 2**30 if self.device.type == "cuda" else None


def rank_from_environment() -> Rank:
    """This process's rank. InputError when the environment is not a launcher's."""
    try:
        index, world_size, local_index = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    except (KeyError, ValueError) as error:
        raise InputError(
            f"a rank needs RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT in its environment ({error}): "
            "start training with `spanwright train` or torchrun"
        ) from None
    local_world_size = int(os.environ.get("LOCAL_WORLD_SIZE", world_size))
    _check_gpus(int(os.environ.get(GPUS, 0)), local_world_size)
    device = torch.device("cuda", local_index) if torch.cuda.is_available() else torch.device("cpu")
    return Rank(index, world_size, local_index, local_world_size, device)


def _check_gpus(promised: int, ranks: int) -> None:
    found = torch.cuda.device_count()
    if promised and found < ranks:
        raise InputError(
            f"{socket.gethostname()} shows {found} GPUs to {ranks} ranks, and the cluster has gpus_per_node={promised}"
            ": ask for them (`nvidia-smi` on the node, a torch build with CUDA), or train on CPUs with "
            "cluster.gpus_per_node=0"
        )


def set_threads(rank: Rank, threads_per_rank: int | None) -> int:
    """Set and return this rank's torch threads: as asked, else its share of the cores it may use."""
    threads = threads_per_rank or max(1, len(os.sched_getaffinity(0)) // rank.local_world_size)
    torch.set_num_threads(threads)
    return threads


def join_process_group(rank: Rank) -> None:
    """Connect to the other ranks (gloo on CPU, NCCL on GPU)."""
    backend = "gloo"
    if rank.device.type == "cuda":
        torch.cuda.set_device(rank.device)
        backend = "cuda:nccl,cpu:gloo"
    dist.init_process_group(backend, store=_store(rank), rank=rank.index, world_size=rank.world_size, timeout=_TIMEOUT)


def _store(rank: Rank) -> dist.Store:
    listen_fd = os.environ.pop(LISTEN_FD, None) if rank.is_first else None
    agent_serves = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    return dist.TCPStore(
        os.environ["MASTER_ADDR"],
        int(os.environ["MASTER_PORT"]),
        rank.world_size,
        is_master=rank.is_first and not agent_serves,
        timeout=_TIMEOUT,
        multi_tenant=True,
        master_listen_fd=int(listen_fd) if listen_fd else None,
        use_libuv=listen_fd is None,
    )
