"""Batches: many jobs handed in as one file, a line each."""

from typing import Annotated

from pydantic import Field

from jobs.words import Strict

MAX_LINES = 50_000


class BatchInput(Strict):
    """Made by `POST /v1/batches`, never sent by a caller."""

    lines: Annotated[int, Field(ge=1, le=MAX_LINES)]
    pictures: Annotated[int, Field(ge=0)]
    """Pictures that they make together."""
