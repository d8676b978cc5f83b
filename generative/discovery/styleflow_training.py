"""Training of StyleFlow's flow, by flow matching: "Flow Matching for Generative Modeling" (Lipman, Chen,
Ben-Hamu, Nickel & Le, 2023), equation 23 with no least width.

The paper trains by maximum likelihood through the solver. Where a generator's z is shorter than its w, the
latents lie on a surface and have no density, so that likelihood grows without limit; here, the speed at a
point is learnt from straight ways between latents and noise. What is trained is the same: a flow between W
and a normal distribution, for given attributes. It costs no solver, some hundred times less.

Axis letters: B rows of a step, N samples, D w_dim, A attributes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from generative.discovery.styleflow import Flow, StyleFlowConfig

Listener = Callable[[int, float], None]  # steps done, loss of the last


@dataclass(frozen=True)
class StyleFlowTraining:
    """Settings; the width and number of hidden layers are those of the flow."""

    steps: int = 4000
    batch: int = 256
    learning_rate: float = 1e-3
    hidden: tuple[int, ...] = (256, 256, 256)
    seed: int = 0


def train_flow(
    latents: Tensor, attributes: Tensor, settings: StyleFlowTraining, listener: Listener | None = None
) -> Flow:
    """A flow between latents and a normal distribution, given attributes.

    Args:
        latents: (N, D) of W.
        attributes: (N, A), standardised.
        listener: called after every step; may raise to end the training.

    Returns:
        On the device of the latents, in evaluation mode, frozen.

    Raises:
        ValueError: for latents of which a coordinate does not vary.
    """
    rng = torch.Generator().manual_seed(settings.seed)
    flow = _new(latents, attributes.shape[1], settings)
    optimizer = torch.optim.Adam(flow.flow.speed.parameters(), settings.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate, max(settings.steps, 2))
    starts = flow.before(latents).detach()
    for step in range(settings.steps):
        rows = torch.randint(len(latents), (settings.batch,), generator=rng)
        noise = torch.randn(settings.batch, latents.shape[1], generator=rng).to(starts)
        t = torch.rand(settings.batch, generator=rng).to(starts)
        loss = matching_loss(flow, starts[rows], noise, t, attributes[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if listener is not None:
            listener(step + 1, loss.item())
    return flow.eval().requires_grad_(False)


def matching_loss(flow: Flow, starts: Tensor, ends: Tensor, t: Tensor, attributes: Tensor) -> Tensor:
    """Mean squared error of the speed on straight ways, over that of a speed of zero.

    starts, ends: (B, D), normalised latents and noise; t: (B,) in [0, 1]; attributes: (B, A) -> scalar.
    """
    at = starts.lerp(ends, t[:, None])
    wanted = ends - starts
    return (flow.flow.speed(attributes, t, at) - wanted).square().mean() / wanted.square().mean()


def _new(latents: Tensor, attributes: int, settings: StyleFlowTraining) -> Flow:
    """A flow with fresh weights that normalises by the statistics of all latents; its time is 1."""
    variance, mean = torch.var_mean(latents, dim=0)
    if not bool((variance > 0).all()):
        raise ValueError("a coordinate of the latents does not vary")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        flow = Flow(StyleFlowConfig(latents.shape[1], attributes, settings.hidden)).to(latents)
    flow.before.running_mean.copy_(mean)
    flow.before.running_var.copy_(variance)
    return flow
