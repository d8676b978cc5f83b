"""The words that requests are written in: limits, and texts and numbers that are checked."""

import math
import unicodedata
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

MAX_SEED = 2**32 - 1
MAX_IMAGES = 1024  # pictures that one job may make
MAX_SAMPLES = 50_000  # pictures that one evaluation may look at
MIN_PICTURES = 16  # of a set that can be compared with another
KEY = r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*"  # of an object in storage


class Strict(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        populate_by_name=True,
        use_attribute_docstrings=True,
        serialize_by_alias=True,
    )


def printable(text: str) -> str:
    """NFC; refuses control, surrogate and direction-changing characters."""
    if any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn") for c in text):
        raise ValueError("must not hold control or formatting characters")
    return unicodedata.normalize("NFC", text)


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("must be finite")
    return value


Text = Annotated[str, Field(min_length=1, max_length=256), AfterValidator(printable)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
JobId = Annotated[str, Field(pattern=r"^job_[0-9A-HJKMNP-TV-Z]{26}$")]
Sha256Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
ImageId = Annotated[str, Field(pattern=r"^img_[0-9a-f]{64}$")]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
Finite = Annotated[float, AfterValidator(_finite)]
Psi = Annotated[float, Field(ge=-2, le=2)]
ClassName = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(printable)]
ClassRef = Annotated[int, Field(ge=0)] | ClassName
LayerName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.]{1,64}$")]
Layers = Annotated[str, Field(pattern=r"^\d{1,2}(-\d{1,2})?(,\d{1,2}(-\d{1,2})?)*$", max_length=128)]
SpaceName = Literal["z", "w", "w+", "s", "p", "p+"]
MetricName = Literal["fid", "kid", "pr", "ppl", "factors", "identity"]
