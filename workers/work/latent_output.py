"""The latents file of a job, in the space that the caller asked for."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Tensor

from generative.p_space import to_pn
from generative.spaces import Space
from jobs.errors import UnsupportedByModel
from workers import latents as files
from workers.encode import MEDIA_TYPES
from workers.job import RunningJob
from workers.latents import Latents
from workers.models import LoadedModel
from workers.work import painting

NAME = "latents.safetensors"


def put_latents(
    job: RunningJob,
    model: LoadedModel,
    painted: Mapping[str, Tensor],
    source: Latents,
    about: Mapping[str, Any],
) -> None:
    """Put `latents.safetensors` out unless the request says none.

    Args:
        painted: what the pictures are painted from: `ws` or `styles`, as `paintable` returns.
        source: what `painted` was made from.

    Raises UnsupportedByModel for a space that these latents cannot be expressed in.
    """
    wanted = job.request.output.latents
    if wanted != "none":
        put_file(job, convert(job, model, Space(wanted), painted, source), about)


def put_file(job: RunningJob, latents: Latents, about: Mapping[str, Any]) -> None:
    layer = {"layer": next(iter(latents.features))} if latents.features else {}
    about = {**about, "space": latents.space.value, **layer}
    shown = {"space": latents.space.value, "count": len(latents), "shape": list(latents.rows.shape)}
    job.outbox.put(
        NAME, partial(files.to_file, latents, about), role="latents",
        media_type=MEDIA_TYPES["safetensors"], about=shown,
    )  # fmt: skip


def put_codes(job: RunningJob, codes: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Put `latents.safetensors` out with codes of no space, which other jobs do not take."""
    job.outbox.put(
        NAME, partial(files.codes_to_file, codes, about), role="latents",
        media_type=MEDIA_TYPES["safetensors"], about={"space": None},
    )  # fmt: skip


def convert(
    job: RunningJob, model: LoadedModel, space: Space, painted: Mapping[str, Tensor], source: Latents
) -> Latents:
    """The latents in another space. Those from Z have their truncation in them, except in Z itself."""
    if space is source.space:
        return source
    if "ws" not in painted or space is Space.Z or source.space is Space.FEATURES:
        raise UnsupportedByModel(f"latents that come from {source.space} cannot be given in {space}")
    ws = painted["ws"]
    if space in (Space.P, Space.P_PLUS):
        files.row_shape(space, model.generator)  # refuses a space that the family lacks
        ws = to_pn(ws, model.codes.axes)
    if space in (Space.W, Space.P):
        if not (painted["ws"] == painted["ws"][:, :1]).all():
            raise UnsupportedByModel(f"these latents differ from layer to layer: ask for them in {space}+")
        ws = ws[:, 0]
    rows = job.forward(model, painting.style_rows, {"ws": ws}) if space is Space.S else ws
    return Latents(space, rows, source.origins, source.noises)
