"""The Triton kernels' Python side: tile sizes per architecture, one launch per kernel, owned workspaces.

`forward` and `backward` take what `cpu.forward` and `cpu.backward` take, on a GPU. Nothing is read back from the
device: grids depend on shapes alone. Where a pattern shows everything, no summary of its ranks is made or read.

Shape suffixes: H heads, G heads of keys and values, R values of the bias, P programs over tiles of queries.
"""

import math
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
import triton
from torch.nn import functional

from pipeline.kernels.attention.cpu import Arguments
from pipeline.kernels.attention.triton_backward import backward_keys, backward_queries
from pipeline.kernels.attention.triton_bias import backward_bias, num_diagonals
from pipeline.kernels.attention.triton_forward import forward_kernel
from pipeline.kernels.attention.triton_tiles import num_programs, summarize_keys, summarize_queries
from pipeline.kernels.fusion import FUSED
from pipeline.kernels.philox import as_int32


@dataclass(frozen=True)
class Tile:
    """Rows of queries and keys in one step of a program, and how the compiler spreads the step."""

    queries: int
    keys: int
    num_warps: int
    num_stages: int
    mfma: int | None = None  # AMD: rows of a matrix instruction's result; the compiler's choice is 32
    part: int | None = None  # queries: columns of dO and v that are multiplied at a time (None: all, dO being held)
    is_frugal: bool = False  # NVIDIA: whether ptxas leaves out what takes more registers (its level 3 of 10, not 5)

    @property
    def options(self) -> dict[str, Any]:
        """What the compiler is told."""
        own: dict[str, Any] = {} if self.mfma is None else {"matrix_instr_nonkdim": self.mfma}
        own |= {"ptx_options": "--register-usage-level=3"} if self.is_frugal else {}
        return {"num_warps": self.num_warps, "num_stages": self.num_stages, **FUSED} | own


@dataclass(frozen=True)
class Tiles:
    """The tiles of the kernels, for one architecture and width.

    `bias` is that of the bias's gradient. For a learned table it has the shape of `queries`, which is square: what lies
    beyond the reach is added up there. FIRE's is the queries' kernel once more: both at once would hold more than
    registers can.
    """

    forward: Tile
    queries: Tile
    keys: Tile
    bias: Tile


# By architecture and width (the head dimension, rounded up to a power of two). Chosen among what compiles without
# spills: for sm_90 by time on an H100, for the others by that alone. Those of sm_80 fit the shared memory of every
# NVIDIA GPU since.
TILES = {
    "sm_80": {
        64: Tiles(Tile(64, 64, 4, 3), Tile(64, 64, 4, 1), Tile(64, 64, 4, 1), Tile(64, 64, 4, 2)),
        128: Tiles(Tile(128, 64, 8, 2), Tile(64, 64, 8, 2), Tile(64, 64, 8, 1), Tile(64, 64, 8, 2, is_frugal=True)),
    },
    "sm_90": {
        64: Tiles(Tile(64, 64, 4, 3), Tile(64, 64, 4, 3), Tile(64, 64, 4, 3), Tile(64, 64, 4, 3)),
        128: Tiles(Tile(64, 64, 4, 3), Tile(64, 64, 4, 1), Tile(128, 64, 8, 1), Tile(64, 64, 8, 2)),
    },
    "gfx942": {
        64: Tiles(Tile(128, 64, 4, 1), Tile(64, 64, 4, 1), Tile(64, 64, 4, 1), Tile(64, 64, 4, 1)),
        128: Tiles(Tile(64, 64, 4, 1), Tile(64, 64, 4, 1), Tile(64, 64, 4, 1, mfma=16), Tile(64, 64, 4, 1)),
    },
}
# With dropout, whose bits take registers too.
DROPOUT_TILES = {
    "sm_80": {
        64: Tiles(Tile(128, 64, 8, 2), Tile(64, 64, 4, 1), Tile(64, 64, 8, 1), Tile(64, 64, 8, 2, is_frugal=True)),
        128: replace(TILES["sm_80"][128], forward=Tile(64, 64, 8, 2)),
    },
    "sm_90": {
        64: Tiles(Tile(64, 64, 4, 3), Tile(64, 64, 4, 2), Tile(64, 64, 4, 1), Tile(64, 64, 4, 1)),
        128: Tiles(Tile(64, 64, 8, 2), Tile(64, 64, 8, 2), Tile(128, 64, 8, 1), Tile(64, 64, 8, 2)),
    },
    "gfx942": TILES["gfx942"],
}
# With FIRE's bias, which holds the distances of a tile too; likewise.
FIRE_TILES = {
    "sm_80": {
        64: Tiles(Tile(128, 64, 8, 2), Tile(64, 64, 8, 1), Tile(64, 64, 8, 1), Tile(64, 64, 8, 1)),
        128: Tiles(Tile(64, 64, 8, 2), Tile(64, 64, 8, 1), Tile(64, 64, 8, 1), Tile(128, 64, 8, 1, part=64)),
    },
    "sm_90": {
        64: Tiles(Tile(64, 64, 4, 3), Tile(64, 64, 4, 1), Tile(64, 64, 4, 2), Tile(64, 64, 4, 1)),
        128: Tiles(Tile(64, 64, 8, 2), Tile(64, 64, 8, 1), Tile(128, 64, 8, 1), Tile(64, 64, 8, 1)),
    },
    "gfx942": {64: Tiles(*[Tile(64, 64, 4, 1)] * 4), 128: Tiles(*[Tile(64, 64, 4, 1)] * 4)},
}
PTX = torch.version.hip is None and not triton.knobs.runtime.interpret
DIAGONAL_PROGRAMS = 4096  # of the bias's gradient, about: more take few sequences each, and a row of shares each
BIAS_MARGIN = 512  # more than the queries and keys of any tile
FLOAT32_TILES = Tiles(*[Tile(32, 32, 4, 1)] * 4)  # without tensor cores, registers hold less


def width_of(head_dim: int) -> int:
    """The power of two that holds a head."""
    return max(16, triton.next_power_of_2(head_dim))


def tiles_of(given: Arguments) -> Tiles:
    """The tiles for a call; of an architecture not in the table, those of the nearest one that is."""
    if given.q.dtype == torch.float32:
        return FLOAT32_TILES
    table = DROPOUT_TILES if given.dropout else TILES
    table = table if given.fire_pieces is None else FIRE_TILES
    return table[_architecture(given.q.device)][64 if width_of(given.q.shape[2]) <= 64 else 128]


def _architecture(device: torch.device) -> str:
    if torch.version.hip is not None:
        return "gfx942"
    return "sm_90" if torch.cuda.get_device_capability(device)[0] in (9, 10) else "sm_80"


def forward(given: Arguments, out: torch.Tensor, logsumexp: torch.Tensor, tiles: Tiles | None = None) -> None:
    """Write every element of `out` [Tq, H, D] and of `logsumexp` [H, Tq] float32 (base 2)."""
    tile = (tiles or tiles_of(given)).forward
    results = {"out": out, "logsumexp": logsumexp, **_block_ranks(given, tile)}
    _launch(forward_kernel, _query_grid(given, tile), tile, _common(given) | results)


def backward(
    given: Arguments,
    out: torch.Tensor,
    logsumexp: torch.Tensor,
    grad_out: torch.Tensor,
    gradients: dict[str, torch.Tensor],
    tiles: Tiles | None = None,
) -> None:
    """Write every element of `gradients`, as `cpu.backward` does."""
    tiles = tiles or tiles_of(given)
    delta = torch.empty_like(logsumexp)
    common = _common(given) | {"out": out, "logsumexp": logsumexp, "grad_out": grad_out, "delta": delta}
    bias, shares_GT = _bias_shares(given, gradients, tiles.bias), _score_shares(given, gradients)
    common |= {name: gradients[name] for name in ("grad_q", "grad_k", "grad_v")} | bias
    common |= {"fire_shares": None, "score_shares": shares_GT}
    # backward_keys reads the delta that backward_queries writes.
    query_arguments = common | _block_ranks(given, tiles.queries)
    _launch(backward_queries, _query_grid(given, tiles.queries), tiles.queries, query_arguments)
    intervals = _tile_intervals(given, tiles.keys)
    key_arguments = common | intervals
    key_grid = (num_programs(len(given.k), len(given.cu_k) - 1, tiles.keys.keys), given.k.shape[1])
    _launch(backward_keys, key_grid, tiles.keys, key_arguments)
    if bias["bias_shares"] is not None:
        if tiles.bias.queries != tiles.keys.queries:
            intervals = _tile_intervals(given, tiles.bias)
        _bias_gradient(given, query_arguments | intervals, gradients["grad_bias"], tiles.bias)
    if gradients.keys() & {"grad_fire_pieces", "grad_fire_shape"}:
        _fire_gradient(given, common, gradients, tiles.bias)
    if shares_GT is not None:
        torch.sum(shares_GT, 0, out=gradients["grad_key_scores"])


def _query_grid(given: Arguments, tile: Tile) -> tuple[int, int]:
    return num_programs(len(given.q), len(given.cu_q) - 1, tile.queries), given.q.shape[1]


def _bias_shares(given: Arguments, gradients: dict[str, torch.Tensor], tile: Tile) -> dict[str, Any]:
    """Rows [H, S, R] for the sums of the bias's gradient: of the queries' programs, then of those along diagonals."""
    if "grad_bias" not in gradients or given.bias is None:
        return {"bias_shares": None, "num_shares": 0, "VALUES": 1}
    (programs, heads), (chunks, diagonals) = _query_grid(given, tile), _diagonal_grid(given, tile)
    num_values = given.bias.shape[1]
    shares_HSR = given.bias.new_zeros((heads, programs + chunks * diagonals, num_values))
    return {
        "bias_shares": shares_HSR, "num_shares": shares_HSR.shape[1], "VALUES": triton.next_power_of_2(num_values),
    }  # fmt: skip


def _diagonal_grid(given: Arguments, tile: Tile) -> tuple[int, int]:
    """Chunks of sequences, as many as give the device enough programs, and diagonals of tiles; none by position."""
    if given.q_positions is not None:
        return 0, 0
    diagonals = num_diagonals(given.reach, tile.keys)
    sequences = len(given.cu_q) - 1
    return triton.cdiv(sequences, _sequences_each(sequences, diagonals * given.q.shape[1])), diagonals


def _sequences_each(sequences: int, programs: int) -> int:
    return max(1, sequences * programs // DIAGONAL_PROGRAMS)


def _bias_gradient(given: Arguments, arguments: dict[str, Any], grad_bias: torch.Tensor, tile: Tile) -> None:
    """What lies near the diagonals, then the sum of everybody's shares, in fixed order."""
    (programs, heads), (chunks, diagonals) = _query_grid(given, tile), _diagonal_grid(given, tile)
    if chunks:
        each = _sequences_each(len(given.cu_q) - 1, diagonals * heads)
        own = {"first_share": programs, "sequences_each": each}
        _launch(backward_bias, (chunks, diagonals, heads), tile, arguments | own)
    torch.sum(arguments["bias_shares"], 1, out=grad_bias)


def _fire_gradient(given: Arguments, common: dict[str, Any], gradients: dict[str, torch.Tensor], tile: Tile) -> None:
    """The queries' kernel once more: each program's sums of its head's intercepts, its slopes, c and L, added up."""
    assert given.fire_pieces is not None, "a gradient of what was given"
    programs, heads = grid = _query_grid(given, tile)
    shares_HPX = given.fire_pieces.new_zeros((heads, programs, 2 * given.fire_pieces.shape[2] + 2))
    arguments = common | _block_ranks(given, tile) | {"grad_q": None, "fire_shares": shares_HPX}
    _launch(backward_queries, grid, tile, arguments)
    sums_HX = shares_HPX.sum(1)
    if "grad_fire_pieces" in gradients:
        gradients["grad_fire_pieces"].copy_(sums_HX[:, :-2].unflatten(1, (2, -1)).transpose(0, 1))
    if "grad_fire_shape" in gradients:
        torch.sum(sums_HX[:, -2:], 0, out=gradients["grad_fire_shape"])


def _score_shares(given: Arguments, gradients: dict[str, torch.Tensor]) -> torch.Tensor | None:
    if "grad_key_scores" not in gradients:
        return None
    return given.q.new_empty((given.k.shape[1], len(given.k)), dtype=torch.float32)


def _block_ranks(given: Arguments, tile: Tile) -> dict[str, Any]:
    if given.shows_all:
        return {"block_ranks": None, "block_stride": 0}
    sequences, num_keys = len(given.cu_k) - 1, len(given.k)
    programs = num_programs(num_keys, sequences, tile.keys)
    ranks = given.cu_k.new_empty((2, programs))
    summarize_keys[(programs,)](given.cu_k, sequences, num_keys, given.key_ranks, ranks, KEYS=tile.keys, **FUSED)
    return {"block_ranks": ranks, "block_stride": programs}


def _tile_intervals(given: Arguments, tile: Tile) -> dict[str, Any]:
    if given.shows_all:
        return {"tile_intervals": None, "tile_stride": 0}
    sequences, num_queries = len(given.cu_q) - 1, len(given.q)
    programs = num_programs(num_queries, sequences, tile.queries)
    extremes = given.cu_q.new_empty((6, programs))
    intervals = (given.a_start, given.a_stop, given.b_start, given.b_stop)
    sizes = {"QUERIES": tile.queries}
    summarize_queries[(programs,)](given.cu_q, sequences, num_queries, *intervals, extremes, **sizes, **FUSED)
    return {"tile_intervals": extremes, "tile_stride": programs}


def _common(given: Arguments) -> dict[str, Any]:
    """Every kernel argument that does not depend on the tile, by name."""
    named = {field.name: getattr(given, field.name) for field in fields(given)}
    for name in ("q", "k", "v"):
        named[f"{name}_row"], named[f"{name}_head"], _ = getattr(given, name).stride()
    for stream in ("keep", "dropout"):
        words = [as_int32(word) for word in named[stream] or (0, 0, 0)]
        named |= dict(zip((f"{stream}_low", f"{stream}_high", f"{stream}_threshold"), words, strict=True))
    num_queries, num_heads, head_dim = given.q.shape
    numbers = {"num_sequences": len(given.cu_q) - 1, "num_queries": num_queries, "num_keys": len(given.k)}
    shapes = {"SHARING": num_heads // given.k.shape[1], "HEAD_DIM": head_dim, "WIDTH": width_of(head_dim)}
    num_breaks = 0 if given.fire_breaks is None else len(given.fire_breaks)
    shapes |= {"NUM_BREAKS": num_breaks, "PIECES": triton.next_power_of_2(num_breaks + 1)}
    table, stride = _bias_table(given)
    numbers |= {"num_heads": num_heads, "reach": given.reach, "bias_stride": stride}
    return named | numbers | shapes | {"bias": table}


def _bias_table(given: Arguments) -> tuple[torch.Tensor | None, int]:
    """The bias times log2(e), its ends repeated so far that no place of a tile lies beyond; and a head's places."""
    if given.bias is None:
        return None, 0
    table = functional.pad(given.bias * math.log2(math.e), (BIAS_MARGIN, BIAS_MARGIN), mode="replicate")
    return table, table.shape[1]


def _launch(kernel: Any, grid: tuple[int, ...], tile: Tile, arguments: dict[str, Any]) -> None:
    arguments |= {"QUERIES": tile.queries, "KEYS": tile.keys, "PART": tile.part or arguments["WIDTH"], "PTX": PTX}
    chosen = {name: arguments[name] for name in kernel.arg_names}
    kernel[grid](**chosen, **tile.options)
