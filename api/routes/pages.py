"""Pages for people: a place to try the service, and what its interface is. No other host is used."""

import base64
import hashlib
import html
import json
import re
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse

from api.deps import PUBLIC
from api.problems import CODES
from jobs.errors import NotFound
from jobs.settings import Settings

router = APIRouter(include_in_schema=False, dependencies=[PUBLIC])
FOLDER = Path(__file__).parents[1] / "pages"
METHODS = ("get", "post", "delete")


@router.get("/")
def landing(request: Request) -> HTMLResponse:
    page = _file("landing.html")
    return HTMLResponse(page, headers={"Content-Security-Policy": _policy(page, request.app.state.settings)})


@router.get("/openapi.json")
def openapi_json(request: Request) -> JSONResponse:
    return JSONResponse(request.app.openapi())


@router.get("/docs")
def docs(request: Request) -> HTMLResponse:
    document = request.app.openapi()
    operations = "".join(
        _operation(method, path, operation)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if method in METHODS
    )
    schemas = "".join(
        _schema(name, schema) for name, schema in sorted(document["components"]["schemas"].items())
    )
    page = (
        _file("docs.html")
        .replace("{about}", html.escape(document["info"]["description"]))
        .replace("{operations}", operations)
        .replace("{schemas}", schemas)
        .replace("{errors}", "".join(_error_row(code) for code in CODES))
    )
    return HTMLResponse(page, headers={"Content-Security-Policy": _policy(page, request.app.state.settings)})


@router.get("/errors/{code}")
def error_code(code: str) -> JSONResponse:
    """What a problem's `type` leads to."""
    if code not in CODES:
        raise NotFound("There is no such error code.")
    status, title = CODES[code]
    return JSONResponse({"code": code, "status": status, "title": title})


@cache
def _file(name: str) -> str:
    return (FOLDER / name).read_text()


def _policy(page: str, settings: Settings) -> str:
    """Only the page's own scripts and styles run, by their hashes; pictures may come from our storage."""
    places = {
        _origin(url) for url in (settings.public_url, settings.s3_public_endpoint, settings.s3_endpoint)
    }
    rules = {
        "default-src": "'none'",
        "script-src": _hashes("script", page) or "'none'",
        "style-src": _hashes("style", page) or "'none'",
        "connect-src": "'self'",
        "img-src": " ".join(["'self'", "data:", *sorted(place for place in places if place)]),
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return "; ".join(f"{rule} {value}" for rule, value in rules.items())


def _hashes(tag: str, page: str) -> str:
    found = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in found)
    return " ".join(f"'sha256-{digest}'" for digest in digests)


def _origin(url: str | None) -> str:
    parts = urlsplit(url or "")
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    parameters = "".join(
        f"<li><code>{html.escape(p['name'])}</code> ({p['in']}) {html.escape(p.get('description', ''))}</li>"
        for p in operation.get("parameters", ())
    )
    answers = ", ".join(code for code in operation["responses"] if code != "default")
    about = html.escape(operation.get("description", operation.get("summary", "")))
    scopes = [scope for way in operation["security"] for scope in way["key"]]
    needs = f"Needs <code>{scopes[0]}</code>, where keys are asked for." if scopes else "Needs no key."
    return (
        f"<section><h3><b>{method.upper()}</b> {html.escape(path)}</h3><p>{about}</p>"
        f"<ul>{parameters}</ul><p>Answers {answers}, or a problem. {needs}</p></section>"
    )


def _schema(name: str, schema: dict[str, Any]) -> str:
    text = html.escape(json.dumps(schema, indent=1, ensure_ascii=False))
    return (
        f"<details id='{html.escape(name)}'><summary>{html.escape(name)}</summary><pre>{text}</pre></details>"
    )


def _error_row(code: str) -> str:
    status, title = CODES[code]
    return f"<tr id='{code}'><td><code>{code}</code></td><td>{status}</td><td>{html.escape(title)}</td></tr>"
