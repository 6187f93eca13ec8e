"""Draws the documentation's pictures: `python docs/draw.py flow`, `python docs/draw.py loss RUN --killed-at STEP`.

Needs matplotlib (the `dev` extra). The loss picture is drawn from a run's own metrics.jsonl.
"""

import argparse
import json
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

IMAGES = Path(__file__).parent / "images"
INK, ACCENT, SOFT = "#24292f", "#0b6e99", "#e8f1f5"

STAGES = (
    ("raw corpus", "text, jsonl, code"),
    ("token shards", "WebDataset tars\n+ manifest"),
    ("windows", "position -> sample\n(pure)"),
    ("views", "select x replace\nx layout"),
    ("training", "flat batches\nZeRO 0-3"),
    ("checkpoints", "bit-exact,\nany world size"),
    ("export", "Hugging Face,\nproven equal"),
)
ARROWS = ("data_prep\n(Ray)", "stream", "corruption", "loader", "save", "verify")


def draw_flow(path: Path) -> None:
    """The way of the data, left to right."""
    step, width, height = 2.0, 1.45, 0.95
    figure, axes = plt.subplots(figsize=(14, 2.1))
    for index, (name, what) in enumerate(STAGES):
        x = index * step
        box = mpl.patches.FancyBboxPatch(
            (x, 0), width, height, boxstyle="round,pad=0.05", facecolor=SOFT, edgecolor=ACCENT
        )
        axes.add_patch(box)
        axes.text(x + width / 2, 0.74, name, ha="center", va="center", weight="bold", color=INK, fontsize=11)
        axes.text(x + width / 2, 0.30, what, ha="center", va="center", color=INK, fontsize=9)
    for index, name in enumerate(ARROWS):
        x = index * step + width + 0.07
        axes.annotate(
            "", xy=(x + step - width - 0.14, height / 2), xytext=(x, height / 2), arrowprops={"arrowstyle": "->"}
        )
        axes.text(x + (step - width) / 2 - 0.07, 1.12, name, ha="center", va="bottom", color=ACCENT, fontsize=9)
    axes.set_xlim(-0.15, len(STAGES) * step - 0.3)
    axes.set_ylim(-0.15, 1.6)
    axes.axis("off")
    figure.savefig(path, dpi=110, bbox_inches="tight")


def draw_loss(metrics: Path, path: Path, killed_at: int | None) -> None:
    """Training and held-out loss by step."""
    records = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    trained = [(r["step"], r["loss"]) for r in records if "loss" in r]
    heldout = [(r["step"], r["heldout_loss"]) for r in records if "heldout_loss" in r]
    figure, axes = plt.subplots(figsize=(8, 3.4))
    axes.plot(*zip(*trained, strict=True), color=ACCENT, linewidth=1, alpha=0.7, label="training")
    axes.plot(*zip(*heldout, strict=True), color=INK, marker="o", label="held-out")
    if killed_at is not None:
        axes.axvline(killed_at, color="#b3261e", linestyle="--", label=f"SIGKILL after step {killed_at}, then resumed")
    axes.set_xlabel("step")
    axes.set_ylabel("loss (nats per target token)")
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110, bbox_inches="tight")


def main() -> None:
    """Draw what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture", choices=("flow", "loss"))
    parser.add_argument("run", nargs="?", type=Path)
    parser.add_argument("--killed-at", type=int)
    arguments = parser.parse_args()
    if arguments.picture == "flow":
        draw_flow(IMAGES / "flow.png")
    elif arguments.run is None:
        parser.error("loss needs the RUN folder")
    else:
        draw_loss(arguments.run / "train" / "metrics.jsonl", IMAGES / "demo-loss.png", arguments.killed_at)


if __name__ == "__main__":
    main()
