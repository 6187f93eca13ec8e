"""What can be said of each layer of an encoder without a task (Skean et al. 2025, "Layer by Layer", section 3).

- entropy: of the eigenvalues of a text's Gram matrix, over the logarithm of their number: 1 where tokens spread over
  all directions, 0 where they are one (matrix-based entropy, alpha 1, section 3.2).
- curvature: the mean angle between a text's consecutive steps from token to token, in degrees (Hosseini and Fedorenko).
- invariance: InfoNCE of two damaged versions of each text among all, in nats: how much one tells of which text the
  other was; at most the logarithm of the number of texts (section 3.3, van den Oord et al. 2018).

Shape suffixes: R rows of a text, N texts, W width.
"""

import math

import torch

from pipeline.corruption.philox import random_bits, stream_key

TEMPERATURE = 0.1
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def matrix_entropy(states_RW: torch.Tensor) -> float:
    """Between 0 and 1, in float64."""
    energies = torch.linalg.svdvals(states_RW.to(torch.float64)).square()
    shares = energies / energies.sum()
    most = math.log(min(states_RW.shape))
    return float(-torch.special.xlogy(shares, shares).sum()) / most if most else 0.0


def curvature(states_RW: torch.Tensor) -> float:
    """In degrees, between 0 (a straight line) and 180; of at least three rows."""
    steps_RW = torch.nn.functional.normalize(states_RW.to(torch.float64).diff(dim=0), dim=1)
    cosines = (steps_RW[1:] * steps_RW[:-1]).sum(1).clamp(-1, 1)
    return float(torch.rad2deg(torch.acos(cosines)).mean())


def info_nce(first_NW: torch.Tensor, second_NW: torch.Tensor) -> torch.Tensor:
    """For each text [N]: log N less the cross entropy of finding its other version by cosine, the mean of both ways."""
    first_NW, second_NW = (
        torch.nn.functional.normalize(each.to(torch.float64), dim=1) for each in (first_NW, second_NW)
    )
    scores_NN = first_NW @ second_NW.T / TEMPERATURE
    own_N = torch.arange(len(scores_NN))
    losses = [torch.nn.functional.cross_entropy(scores, own_N, reduction="none") for scores in (scores_NN, scores_NN.T)]
    return math.log(len(own_N)) - (losses[0] + losses[1]) / 2


def damaged(text: str, number: int, version: int, rate: float = 0.1) -> str:
    """The text with letters replaced at this rate (as the paper's random characters), as if badly typed or scanned.

    What stands there depends on `number` and `version` alone.
    """
    bits = random_bits(stream_key(0, "layers/damage"), number, range(len(text)), 2 * version).tolist()
    letters = random_bits(stream_key(0, "layers/damage"), number, range(len(text)), 2 * version + 1).tolist()
    threshold = int(rate * 2**32)
    return "".join(
        _LETTERS[letter * len(_LETTERS) >> 32] if bit < threshold and character.isalpha() else character
        for character, bit, letter in zip(text, bits, letters, strict=True)
    )
