"""What the operations of one edit job share: the model, the pictures before, and ways between spaces."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from generative.generator import StyleGenerator
from generative.inversion.feature_space import FEATURES
from generative.p_space import to_pn
from generative.spaces import Space, broadcast
from generative.statistics import WStatistics
from jobs.editing import AnyMask
from jobs.errors import BadRequest, UnsupportedByModel
from jobs.schemas import EditRequest
from jobs.sources import LatentSource
from workers.images import Pixels
from workers.job import RunningJob
from workers.latents import Latents, layers_of
from workers.models import LoadedModel
from workers.work import painting
from workers.work.edits import masks
from workers.work.edits.columns import Column, pictures
from workers.work.edits.draft import Draft
from workers.work.sources import (
    NoiseSource,
    Painter,
    paintable,
    psi_of,
    resolve,
    to_ws,
    truncation_of,
    untuned,
    with_w,
)

Job = RunningJob[EditRequest]
PLUS = {Space.W: Space.W_PLUS, Space.P: Space.P_PLUS}  # where layers may be chosen
STYLE_PSI = 0.7


@dataclass(frozen=True)
class Styles:
    """Moments of S where W is truncated with psi 0.7, as StyleSpace measures them. (S,) each."""

    mean: Tensor
    sigma: Tensor


class Bench:
    """For the latents `before`, of any space. Remembers what several variants of an edit need."""

    def __init__(self, job: Job, model: LoadedModel, before: Latents) -> None:
        self.job, self.model, self.before = job, model, before
        self.truncation = truncation_of(job, model)
        noise = NoiseSource(found=before.noises)
        self.noises = noise.inputs(model.generator, 0, len(before))
        self.paint = painting.Paint(noise.rest(), psi=psi_of(model.generator, self.truncation))
        self._others: dict[str, Latents] = {}
        self._ws: dict[int, tuple[Latents, Tensor]] = {}
        self._masks: dict[AnyMask, Tensor] = {}
        self._pictures: Pixels | None = None
        self._styles: Styles | None = None

    # --- latents -----------------------------------------------------------------------------------------

    def ws(self, latents: Latents) -> Tensor:
        """(N, L, w_dim)."""
        if id(latents) not in self._ws:  # the latents are kept beside, so that no others can have their id
            self._ws[id(latents)] = latents, to_ws(self.job, self.model, latents, self.truncation)
        return self._ws[id(latents)][1]

    def in_space(self, latents: Latents, space: Space, painter: Painter) -> Latents:
        """The latents in a space, or in the one like it whose layers may be chosen. `painter` makes styles.
        Features stay what they are: their rows are in W+.

        Raises UnsupportedByModel where there is no way.
        """
        space = PLUS.get(space, space)
        if latents.space is space or (latents.space is Space.FEATURES and space is Space.W_PLUS):
            return latents
        if space is Space.Z:
            raise UnsupportedByModel(f"latents that are in {latents.space} cannot be brought to z")
        rows = self.ws(latents)
        if space is Space.S:
            rows = self.job.forward(painter, painting.style_rows, {"ws": rows})
        elif space is Space.P_PLUS:
            rows = to_pn(rows, self.model.codes.axes)
        return replace(latents, space=space, rows=rows)

    def code(self, latents: Latents, painter: Painter) -> dict[str, Tensor]:
        """What `painting.Paint` takes."""
        if latents.space is Space.FEATURES:
            return {"ws": latents.rows} | self._carried(latents, painter)
        if latents.space is Space.S or not isinstance(painter.generator, StyleGenerator):
            return paintable(self.job, self.model, latents, self.truncation)
        return {"ws": self.ws(latents)}

    def _carried(self, latents: Latents, painter: Painter) -> dict[str, Tensor]:
        """The maps of features, moved as their layers are by what became of the ws."""
        maps = {FEATURES + name: t for name, t in latents.features.items()}
        if latents.rows is self.before.rows:
            return maps
        moved: dict[str, Tensor] = self.job.forward(
            painter, painting.carry, {"ws": self.before.rows, "moved": latents.rows, **maps}
        )
        return moved

    def others(self, source: LatentSource) -> Latents:
        """Latents that an operation names."""
        text = source.model_dump_json()
        if text not in self._others:
            found = resolve(self.job, self.model, source)
            self._others[text] = untuned(found, "an operation with other latents")
        return self._others[text]

    def paired(self, source: LatentSource) -> Latents:
        """One for each picture, or one for all."""
        found, N = self.others(source), len(self.before)
        if len(found) not in (1, N):
            raise BadRequest(f"{len(found)} other latents for {N} pictures; give one, or one for each")
        return found

    # --- what an operation names -------------------------------------------------------------------------

    def layers(self, text: str | None) -> tuple[int, ...] | None:
        return None if text is None else layers_of(text, with_w(self.model.generator).num_ws)

    def styles(self) -> Styles:
        """Styles follow from w as a plane does, so their moments follow from those of W."""
        if self._styles is None:
            statistics, L = self._statistics(), with_w(self.model.generator).num_ws
            steps = STYLE_PSI * statistics.variances.sqrt()[:, None] * statistics.components
            points = torch.cat([statistics.mean[None], statistics.mean + steps])
            rows = self.job.forward(self.model, painting.style_rows, {"ws": broadcast(points, L)})
            self._styles = Styles(rows[0], (rows[1:] - rows[0]).square().sum(dim=0).sqrt())
        return self._styles

    def mean(self, space: Space) -> Tensor | None:
        """From where coordinates count; None for 0."""
        if space in (Space.W, Space.W_PLUS):
            return self._statistics().mean
        return self.styles().mean if space is Space.S else None

    def _statistics(self) -> WStatistics:
        if self.model.statistics is None:
            raise UnsupportedByModel(f"the model {self.model.name!r} has no W")
        return self.model.statistics

    def other_model(self, name: str) -> LoadedModel:
        return self.job.context.models.get(self.job.tenant, name)

    # --- pictures ----------------------------------------------------------------------------------------

    def pictures(self) -> Pixels:
        """(N, H, W, 3), as they are before the edit."""
        if self._pictures is None:
            self._pictures = pictures(self.job, self.column_before(), self.before.tunings)
        return self._pictures

    def column_before(self) -> Column:
        inputs = self.code(self.before, self.model)
        return Column(self.model, self.paint, {**inputs, **self.noises})

    def mask(self, wanted: AnyMask) -> Tensor:
        """(N, 1, R, R) uint8."""
        if wanted not in self._masks:
            self._masks[wanted] = masks.draw(self.job, self.model, wanted, len(self.before), self.pictures)
        return self._masks[wanted]

    def column(self, draft: Draft) -> Column:
        """The draft's pictures. Its codes must be of one kind: if one is in S, all are brought there."""
        codes = draft.codes
        if any(code.space is Space.S for code in codes):
            codes = tuple(self.in_space(code, Space.S, draft.painter) for code in codes)
        first, *others = (self.code(code, draft.painter) for code in codes)
        inputs = {f"code{k + 1}:{name}": t for k, code in enumerate(others) for name, t in code.items()}
        return Column(
            draft.painter, draft.op(self.paint), {**first, **inputs, **draft.extras(), **self.noises}
        )

    def where(self, draft: Draft) -> Tensor | None:
        """(N, 1, R, R) uint8: the masks that a draft's edits keep to; None where they are everywhere."""
        if draft.painter is not self.model or draft.codes[0] is not self.before:
            return None
        outer = [one for one in draft.touches if one.touch.code is None]  # others are in a region
        found = [region.mask for region in draft.regions] + [one.tensors["mask"] for one in outer]
        if not found or not all(one.local for one in outer):
            return None
        return torch.stack(found).amax(dim=0)
