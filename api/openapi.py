"""The OpenAPI document: what FastAPI derives from the routes, plus what they read by hand.

`python -m api.openapi > docs/openapi.json` refreshes the committed file, which a test compares.
"""

import json
import sys
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel, TypeAdapter

from api.deps import needed_scope
from jobs.schemas import JobView, Problem, submit_adapter

REF = "#/components/schemas/{model}"
VERSION = "1"  # of the contract: it changes by addition only
ABOUT = """Deep generative models over HTTP: generate pictures, invert and edit them, by job.

Where the service asks for an API key, every call shows it: `Authorization: Bearer sgk_…`. Those who run the
service make one with `ganserve keys create`.

Errors are problem documents (RFC 9457) with a stable `code`; `/errors/{code}` tells what each means."""

KEY = """An API key, where the service asks for one (`Authorization: Bearer sgk_…`). Each call names the scope
that the key needs; `admin` is all of them."""

DATE_TIME = {"type": "string", "format": "date-time"}

_EXTRA_SCHEMAS: dict[str, TypeAdapter[Any]] = {
    "SubmitRequest": submit_adapter,
    "JobView": TypeAdapter(JobView),
    "Problem": TypeAdapter(Problem),
}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": REF.format(model=name)}


def _binary(*media_types: str) -> dict[str, Any]:
    return {media: {"schema": {"type": "string", "format": "binary"}} for media in media_types}


def _upload(*media_types: str, **fields: str) -> dict[str, Any]:
    """A request body: the file raw, or multipart with a part called `file`."""
    properties = {"file": {"type": "string", "format": "binary"}} | {
        name: {"type": "string", "description": about} for name, about in fields.items()
    }
    form = {"schema": {"type": "object", "required": ["file"], "properties": properties}}
    return {"required": True, "content": _binary(*media_types) | {"multipart/form-data": form}}


def _header(name: str, about: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "schema": {"type": "string"}, "description": about}


_KEY = _header("Idempotency-Key", "Up to 255 characters; within 24 h the same request gives the same job.")
_HASH = "sha256 of the file as sent, in hex; another one is refused."

SUBMIT: dict[str, Any] = {
    "parameters": [_KEY, _header("Prefer", "`wait=n`: answer when the job has ended, or after n ≤ 60 s.")],
    "requestBody": {"required": True, "content": {"application/json": {"schema": _ref("SubmitRequest")}}},
}
WAITED: dict[int | str, dict[str, Any]] = {200: {"model": JobView, "description": "It ended in time."}}
IMAGE_UPLOAD: dict[str, Any] = {
    "requestBody": _upload("image/png", "image/jpeg", "image/webp", "application/octet-stream", sha256=_HASH)
}
BATCH: dict[str, Any] = {
    "parameters": [_KEY],
    "requestBody": {
        "required": True,
        "content": {"application/jsonl": {"schema": {"type": "string", "format": "binary"}}},
    },
}
CHECKPOINT_UPLOAD: dict[str, Any] = {
    "parameters": [_KEY],
    "requestBody": _upload(
        "application/octet-stream",
        name="Name of the model to be.",
        licence="Licence of the weights.",
        sha256=_HASH,
    ),
}
DIRECTIONS_UPLOAD: dict[str, Any] = {
    "parameters": [_KEY],
    "requestBody": _upload(
        "application/octet-stream",
        set="Name of the set to be.",
        space="Of the vectors, where the file does not say: z, w or w+.",
        first="Coordinates of z that a square matrix smaller than z is for.",
        licence="Licence of the directions.",
        sha256=_HASH,
        model_sha256="Of the weights that the directions are for; others are refused.",
    ),
}
EVENTS: dict[str, Any] = {"parameters": [_header("Last-Event-ID", "Go on after this `seq`.")]}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "A problem document.",
        "content": {"application/problem+json": {"schema": _ref("Problem")}},
    }
}


def binary(about: str, *media_types: str) -> dict[int | str, dict[str, Any]]:
    """`responses` of a route that answers with a file."""
    return {200: {"description": about, "content": _binary(*media_types)}}


def json_body(model: type[BaseModel]) -> dict[str, Any]:
    """A request body that the route reads by hand."""
    schema = model.model_json_schema()
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def document(app: FastAPI) -> dict[str, Any]:
    """The whole document, without a word of where this gateway runs."""
    made = get_openapi(title="ganserve", version=VERSION, description=ABOUT, routes=app.routes)
    schemas = made.setdefault("components", {}).setdefault("schemas", {})
    for name, adapter in _EXTRA_SCHEMAS.items():
        mode: Any = "validation" if name == "SubmitRequest" else "serialization"
        schema = adapter.json_schema(ref_template=REF, mode=mode)
        schemas |= schema.pop("$defs", {})
        schemas[name] = schema
    for name in ("HTTPValidationError", "ValidationError"):  # FastAPI's own; ours are problems
        schemas.pop(name, None)
    for path in made["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
    _say_who_may(app, made)
    return made


def _say_who_may(app: FastAPI, made: dict[str, Any]) -> None:
    """Each operation's scope; none where no key is needed."""
    made["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer", "description": KEY}}
    for route in iter_route_contexts(app.routes):
        for method in route.methods or ():
            operation = made["paths"].get(route.path_format, {}).get(method.lower())
            if operation is not None:
                scope = needed_scope(route.dependant, method)
                operation["security"] = [] if scope is None else [{"key": [scope.value]}]


def main() -> None:
    from api.app import describe

    json.dump(document(describe()), sys.stdout, indent=1, sort_keys=True, ensure_ascii=False)
    print()


if __name__ == "__main__":
    main()
