"""The prep benchmark as it is called: real preparations on Ray beside SentencePiece, one JSON line."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_one_json_line_with_figures_ratios_and_goals(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.mkdir()
    for number in range(40):
        sentence = f"Text {number} says über walking and talking what слова say. Dr. Who has read it {number} times.\n"
        (text / f"{number}.txt").write_text(sentence * 40, encoding="utf-8")
    arguments = ["--json", "--rounds", "1", "--vocab-size", "600", "--text", str(text), "--scratch", str(tmp_path)]
    command = [sys.executable, "-m", "benchmarks.prep", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    [line] = done.stdout.splitlines()
    outcome = json.loads(line)
    figures, ratios = outcome["figures"], outcome["ratios"]
    assert outcome["benchmark"] == "prep"
    assert [goal["name"] for goal in outcome["goals"]] == ["share_of_sentencepiece", "scaling_1_to_2"]
    assert set(figures["mb_per_s"]) == {"prep_1", "prep_2", "sentencepiece_1", "sentencepiece_2"}
    assert {"read", "clean", "dedup: observe", "encode", "words", "sents", "weight: observe", "write shards"} <= set(
        figures["stages_mb_per_cpu_s"]
    )
    assert ratios["share_of_sentencepiece"] > 0 < ratios["scaling_1_to_2"]
    assert set(figures["cpu_seconds"]) == set(figures["mb_per_s"])
    assert ratios["cpu_share_of_sentencepiece"] > 0
    assert ratios["vs_datatrove"] is None
    assert "pip install --target" in figures["datatrove"]
    assert [path.name for path in tmp_path.iterdir()] == ["text"]
