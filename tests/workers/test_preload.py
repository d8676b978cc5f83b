"""Preloaded models are in memory, and their blocks are known, before any job comes."""

import pytest

from jobs.errors import UnknownModel
from jobs.settings import DEFAULT_TENANT
from workers.preload import preload
from workers.work import painting


def test_a_preloaded_model_is_the_one_that_jobs_get(context):
    context.engine._blocks._alike.clear()  # what earlier tests made it try
    preload(["tiny"], context)
    [(_, loaded)] = context.models._loaded.values()

    assert context.models.get(DEFAULT_TENANT, "tiny") is loaded
    tried = {op for op, _ in context.engine._blocks._plans_of(loaded.generator)}
    assert tried == {painting.map_z, painting.Paint("const"), painting.Paint()}


def test_a_name_that_no_model_has_is_an_error(context):
    with pytest.raises(UnknownModel):
        preload(["tiny", "nobody"], context)
