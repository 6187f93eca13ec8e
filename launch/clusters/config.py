"""What a `configs/clusters/NAME.yaml` may say: one frozen model per kind of cluster.

Everything that ends in a script, a path or a manifest is checked here, before any of it is built: names are names, and
no value can end its line or open a quote.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from data_prep.section import Positive, Section

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=200)]
"""A name of something: of a partition, a Kubernetes object, a host."""
Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:,@/+=&|%\[\]*-]+$", max_length=1000)]
"""A value without blanks, quotes or anything a shell would read: a path, an image, a time limit."""
VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=200)]
Line = Annotated[str, Field(pattern=r"^[^\n\r\x00]*$", max_length=10000)]
"""Text on one line; where a shell gets it, it is quoted."""
PositiveFloat = Annotated[float, Field(gt=0.0)]
NaturalInt = Annotated[int, Field(ge=0)]


class Supervision(Section):
    """How a training is kept alive."""

    restarts: NaturalInt = 10
    """Restarts after failures, from the newest valid checkpoint. Progress between two failures is not required, but
    failing twice at one step stops."""
    same_step_failures: Positive = 2
    """Failures at one and the same step after which a restart would only fail again."""
    backoff_seconds: PositiveFloat = 5.0
    """Wait before the first restart; doubled each time, up to `backoff_limit_seconds`."""
    backoff_limit_seconds: PositiveFloat = 300.0
    start_seconds: PositiveFloat = 1800.0
    """Time for all nodes to appear, and then for the first step (compilation, checkpoints, held-out loss)."""
    hang_seconds: PositiveFloat | None = None
    """Time without a step that counts as a hang (null: 20 times the usual step, at least 300 s). Longer than your
    longest evaluation or save."""
    node_seconds: PositiveFloat = 60.0
    """Time without a sign of life after which a node is lost."""
    elastic: bool = False
    """Whether to go on with fewer nodes, where their ranks divide the global batch, when some do not come back."""


class Cluster(Section):
    """What every kind has."""

    nodes: Positive = 1
    """Machines that train."""
    ranks_per_node: Positive | None = None
    """Training processes per machine (null: one per GPU, else one)."""
    gpus_per_node: NaturalInt = 0
    interface: Name | None = None
    """Network interface that the ranks talk over (null: what gloo and NCCL choose)."""
    environment: dict[VariableName, Line] = Field(default_factory=dict)
    """Variables of every process. No secrets: this is printed and stored."""
    supervise: Supervision = Supervision()

    @property
    def ranks_on_node(self) -> int:
        """Training processes per machine."""
        return self.ranks_per_node or max(1, self.gpus_per_node)

    @property
    def ranks(self) -> int:
        """All training processes."""
        return self.nodes * self.ranks_on_node


class LocalCluster(Cluster):
    """This machine, in the background."""

    kind: Literal["local"] = "local"
    nodes: Literal[1] = 1


class HostfileCluster(Cluster):
    """Machines one can log in to. Nothing is contacted: the commands are printed, to be pasted on each."""

    kind: Literal["hostfile"] = "hostfile"
    hosts: tuple[Name, ...] = Field(min_length=1)
    """Host names; the first one leads."""
    port: Annotated[int, Field(gt=1023, lt=65536)] = 29500
    """Rendezvous port of torchrun's and DeepSpeed's own launchers, on the first host."""

    @model_validator(mode="after")
    def _hosts_are_the_nodes(self) -> Self:
        if len(set(self.hosts)) != len(self.hosts):
            raise ValueError("hosts names a machine twice; give ranks_per_node to start several processes on one")
        if self.nodes != len(self.hosts):
            raise ValueError(f"nodes is {self.nodes} and hosts names {len(self.hosts)}: give as many")
        return self


class SlurmResources(Section):
    """What the job of a stage asks for (null: what the partition gives)."""

    partition: Word | None = None
    time: Word | None = None
    """Time limit as Slurm writes it: 24:00:00, 2-12:00:00."""
    cpus: Positive | None = None
    """Cores per node."""
    memory: Word | None = None
    """Memory per node: 64G."""


class SlurmCluster(Cluster):
    """A Slurm site. One job per stage, each waiting for the one before."""

    kind: Literal["slurm"] = "slurm"
    account: Word | None = None
    qos: Word | None = None
    constraint: Word | None = None
    train: SlurmResources = SlurmResources()
    prep: SlurmResources = SlurmResources()
    export: SlurmResources = SlurmResources()
    signal_seconds: Positive = 120
    """How long before the time limit training is told to save (it then requeues itself)."""
    requeue: bool = True
    """Whether a job may start again after preemption, a lost node, or its time limit."""
    chain: Positive = 1
    """Training jobs in a row, each continuing the one before: for sites that do not allow requeueing."""
    modules: tuple[Word, ...] = ()
    """Environment modules to load."""
    venv: Word | None = None
    """Virtual environment on the nodes (null: the one that submits, on a shared file system)."""
    container: Word | None = None
    """Apptainer image in which every stage runs (null: none)."""
    binds: tuple[Word, ...] = ()
    """Folders to show inside the container: PATH or PATH:INSIDE."""
    options: tuple[Annotated[str, Field(pattern=r"^--[a-z][a-z0-9-]*(=[A-Za-z0-9_.:,@/+=-]+)?$")], ...] = ()
    """More sbatch options, as --gres-flags=enforce-binding."""

    @model_validator(mode="after")
    def _one_home_for_python(self) -> Self:
        if self.venv and self.container:
            raise ValueError("venv and container are both given: Python lives in one of them")
        if self.chain > 1 and self.requeue:
            raise ValueError(
                f"chain is {self.chain} and requeue is true: a job that requeues itself needs no successor"
            )
        return self


class RayCluster(Cluster):
    """A Ray cluster that is running. One Ray job runs the stages; a node trains with all its ranks in one actor."""

    kind: Literal["ray"] = "ray"
    address: Annotated[str, Field(pattern=r"^https?://[A-Za-z0-9.:\[\]-]+$")] = "http://127.0.0.1:8265"
    """The dashboard's address, which takes jobs."""
    cpus_per_node: Positive = 1
    """Cores that a node's actor reserves."""
    program: Word | None = None
    """The `spanwright` command on the nodes (null: the one that submits, at the same path there)."""
    insecure: bool = False
    """Talk to a cluster without token authentication: anybody who reaches it may run commands as you."""


class KubernetesVolume(Section):
    """A persistent volume claim, mounted on every node."""

    claim: Name
    path: Annotated[str, Field(pattern=r"^/[A-Za-z0-9_./-]+$")]


class KubernetesCluster(Cluster):
    """Kubernetes with the KubeRay operator. A RayJob brings its own Ray cluster up and takes it down."""

    kind: Literal["kubernetes"] = "kubernetes"
    image: Word
    namespace: Name = "default"
    cpus_per_node: Positive = 8
    memory_per_node: Word = "64Gi"
    head_cpus: Positive = 4
    head_memory: Word = "16Gi"
    prep_nodes: NaturalInt = 0
    """Machines without GPUs, for preparation only."""
    volumes: tuple[KubernetesVolume, ...] = Field(min_length=1)
    """Shared storage. `run.dir` must lie on one of them."""
    secrets: dict[VariableName, Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*/[A-Za-z0-9_.-]+$")]] = Field(
        default_factory=dict
    )
    """Variables from secrets, by name: AWS_ACCESS_KEY_ID: my-secret/access-key."""
    token_secret: Name = "ray-token"
    """Secret with Ray's token under `auth_token`."""
    node_selector: dict[Word, Word] = Field(default_factory=dict)
    service_account: Name | None = None
    shared_memory: Word = "16Gi"
    save_seconds: Positive = 120
    """How long a pod that is taken away waits for training to save."""
    retries: NaturalInt = 2
    """New Ray clusters for a job that failed or lost its head. (One that saved and stopped early goes on anyway.)"""
    ttl_seconds: NaturalInt = 600
    """How long the finished job's pods stay for their logs."""


AnyCluster = LocalCluster | HostfileCluster | SlurmCluster | RayCluster | KubernetesCluster
KINDS: dict[str, type[Cluster]] = {
    "local": LocalCluster,
    "hostfile": HostfileCluster,
    "slurm": SlurmCluster,
    "ray": RayCluster,
    "kubernetes": KubernetesCluster,
}
