"""How evenly vectors fill their space: two scores, between 0 (along one line) and 1 (alike in every direction).

- `partition_isotropy`: Mu and Viswanath 2018 ("All-but-the-Top", section 2.2), after Arora et al. 2016: the least over
  the largest of Z(c) = sum of exp(c . v) over the vectors v, c the eigenvectors of their second moments, both ways.
- `iso_score`: Rudman et al. 2022 ("IsoScore", algorithm 1): from the variances along principal components.

Shape suffixes: N vectors, W width.
"""

import math

import torch


def partition_isotropy(vectors_NW: torch.Tensor) -> float:
    """Of unit vectors, as lengths would decide it otherwise; in float64."""
    unit_NW = torch.nn.functional.normalize(vectors_NW.to(torch.float64), dim=1)
    _, directions_WW = torch.linalg.eigh(unit_NW.T @ unit_NW)
    along_NW = unit_NW @ directions_WW
    log_sums = torch.cat([torch.logsumexp(along_NW, 0), torch.logsumexp(-along_NW, 0)])
    return float(torch.exp(log_sums.min() - log_sums.max()))


def iso_score(vectors_NW: torch.Tensor) -> float:
    """1 where all principal components have the same variance, 0 where one has all; in float64."""
    width = vectors_NW.shape[1]
    centred_NW = vectors_NW.to(torch.float64) - vectors_NW.to(torch.float64).mean(0)
    variances_W = torch.linalg.svdvals(centred_NW).square()
    variances_W = torch.nn.functional.pad(variances_W, (0, width - len(variances_W)))
    if not float(variances_W.sum()):
        return 0.0
    scaled_W = math.sqrt(width) * variances_W / variances_W.norm()
    defect = float((scaled_W - 1).norm()) / math.sqrt(2 * (width - math.sqrt(width)))
    used = (width - defect**2 * (width - math.sqrt(width))) ** 2 / width**2
    return (width * used - 1) / (width - 1)


def mean_cosine(vectors_NW: torch.Tensor) -> float:
    """The mean cosine of two different vectors (Ethayarajh 2019, section 4.1): 0 where directions are even."""
    unit_NW = torch.nn.functional.normalize(vectors_NW.to(torch.float64), dim=1)
    number = len(unit_NW)
    return float((unit_NW.sum(0).square().sum() - unit_NW.square().sum()) / (number * (number - 1)))
