"""How disentangled a latent space is: "A Framework for the Quantitative Evaluation of Disentangled
Representations" (Eastwood & Williams, 2018).

Every factor is predicted from all latent dimensions by a lasso, and the absolute coefficients are taken as
importance, R. Row i of R says which factors dimension i tells of, column j which dimensions tell of factor j:

    disentanglement of i   1 - H(R_i. / sum), entropy to the base of the number of factors
    completeness of j      1 - H(R_.j / sum), entropy to the base of the number of dimensions
    informativeness of j   R² on latents that were held out; the paper has an error instead

Disentanglement is weighted by how much each dimension matters. The penalty of each factor is the one that
predicts held-out latents best.

Axis letters: N samples, D latent dimensions, F factors.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

PENALTIES = tuple(10.0 ** (-k / 2) for k in range(1, 9))  # of standardised latents and factors
STEPS, TOLERANCE = 2000, 1e-5


@dataclass(frozen=True)
class Disentanglement:
    """All in [0, 1] but informativeness, which is negative for a factor that cannot be told at all."""

    disentanglement: float
    completeness: float
    informativeness: float  # mean over the factors
    importance: Tensor  # (D, F)


def lasso(x: Tensor, y: Tensor, penalty: float | Tensor, steps: int = STEPS) -> Tensor:
    """Minimise |y - x b|² / (2 N) + penalty |b|₁, by FISTA (Beck & Teboulle, 2009).

    x: (N, D), y: (N, F), both with a mean of 0; penalty: one, or (F,) -> b (D, F), to `TOLERANCE` of a step.
    """
    gram, target = x.T @ x / len(x), x.T @ y / len(x)
    pace = 1 / torch.linalg.eigvalsh(gram)[-1].clamp(min=1e-12)
    b = ahead = torch.zeros_like(target)
    momentum = 1.0
    for _ in range(steps):
        moved = ahead - pace * (gram @ ahead - target)
        new = moved.sign() * (moved.abs() - pace * penalty).clamp(min=0)
        following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = new + (momentum - 1) / following * (new - b)
        step, b, momentum = float((new - b).abs().max()), new, following
        if step < TOLERANCE * pace:
            break
    return b


def dci(latents: Tensor, factors: Tensor, held_out: float = 0.2) -> Disentanglement:
    """Of samples (N, D) with their factors (N, F); the last `held_out` of them judge the predictions.

    Dimensions that do not vary count for nothing. Raises ValueError for a factor that does not vary.
    """
    cut = round(len(latents) * (1 - held_out))
    x, y = _standard(latents, cut), _standard(factors, cut)
    if not bool(y[:cut].any(dim=0).all()):
        raise ValueError("a factor does not vary")
    found = torch.stack([lasso(x[:cut], y[:cut], penalty) for penalty in PENALTIES])  # (P, D, F)
    errors = (y[cut:] - x[cut:] @ found).square().mean(dim=1)  # (P, F)
    explained = 1 - errors / (y[cut:] - y[cut:].mean(dim=0)).square().mean(dim=0)
    best = explained.argmax(dim=0)  # (F,)
    columns = torch.arange(y.shape[1])
    importance = found[best, :, columns].T.abs()
    return Disentanglement(
        disentanglement(importance),
        completeness(importance),
        float(explained[best, columns].mean()),
        importance.float(),
    )


def disentanglement(importance: Tensor) -> float:
    """Of (D, F), not negative: does each dimension tell of one factor only?"""
    return _concentration(importance, importance.sum(dim=1))


def completeness(importance: Tensor) -> float:
    """Of (D, F), not negative: is each factor told by one dimension only?"""
    return _concentration(importance.T, torch.ones(importance.shape[1]))


def _concentration(rows: Tensor, weights: Tensor) -> float:
    """1 less the entropy of each row, in the mean by weights; rows of zeros do not count."""
    rows, totals = rows.double(), rows.double().sum(dim=1)
    kept = totals > 0
    shares = rows[kept] / totals[kept, None]
    entropy = -torch.xlogy(shares, shares).sum(dim=1) / torch.tensor(rows.shape[1]).double().log()
    weights = weights[kept].double()
    return float(((1 - entropy) * weights).sum() / weights.sum()) if bool(kept.any()) else 0.0


def _standard(values: Tensor, cut: int) -> Tensor:
    """(N, K) with a mean of 0 and a deviation of 1 before the cut; columns that are constant are 0."""
    values = values.double()
    centred = values - values[:cut].mean(dim=0)
    spread = values[:cut].std(dim=0, correction=0)
    return torch.where(spread > 1e-9 * spread.max(), centred / spread.clamp(min=1e-300), 0.0)
