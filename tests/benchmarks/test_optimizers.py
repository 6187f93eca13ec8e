"""The benchmark of optimizers trains each at each rate, and goes on with the best one of each."""

import json

import pytest

from benchmarks import frame, optimizers

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.long
def test_every_optimizer_learns_and_the_best_rate_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    size = ["--steps", "3", "--windows", "2", "--seeds", "2", "--megabytes", "0.3", "--json"]
    frame.main(optimizers.parser(), optimizers.measure, size)
    figures = json.loads(capsys.readouterr().out)["figures"]
    assert figures["tokens"] == 3 * 2 * optimizers.WINDOW
    for kind, rates in optimizers.RATES.items():
        found = figures["rates"][kind]
        assert list(found) == [f"{rate:g}" for rate in rates]
        assert len(set(found.values())) == len(rates)
        first, second = figures["heldout_loss"][kind]
        assert first == min(found.values())
        assert second != first
