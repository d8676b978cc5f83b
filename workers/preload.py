"""Models that are loaded and tried before the worker takes its first job: no caller waits for that."""

import logging
import time
from collections.abc import Iterable

from torch import Tensor

from generative.generator import StyleGenerator
from jobs.settings import DEFAULT_TENANT
from workers.context import Context
from workers.models import placed
from workers.work import painting
from workers.work.sources import NoiseSource, Truncation, from_seeds, mapping_inputs, psi_of

logger = logging.getLogger(__name__)


def preload(names: Iterable[str], context: Context) -> None:
    """Load each model that ships under one of `names`, and paint seed 0 with it.

    Raises UnknownModel, and what a broken model raises.
    """
    for name in names:
        began = time.monotonic()
        model = context.models.get(DEFAULT_TENANT, name)
        truncation = Truncation(class_index=0 if model.generator.c_dim else None)
        z = mapping_inputs(model, from_seeds([0], model.generator), truncation)
        codes = [z]
        if isinstance(model.generator, StyleGenerator):
            ws = context.engine.forward(*placed(model, painting.map_z), z).result()
            assert isinstance(ws, Tensor)
            codes.append({"ws": ws})
        paint = painting.Paint("const", psi=psi_of(model.generator, truncation))
        noises = NoiseSource("random", identities=[("", 0)]).inputs(model.generator, 0, 1)
        for code in codes:
            context.engine.forward(*placed(model, paint), code).result()
            if noises:
                context.engine.forward(*placed(model, painting.Paint()), {**code, **noises}).result()
        logger.info("model %s is loaded (%.1f s)", name, time.monotonic() - began)
