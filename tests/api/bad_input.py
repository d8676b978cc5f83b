"""The table of bad inputs: number, what it is, how it is sent, and the status and code that it must get.

The numbers are those of the project's list of bad inputs: 6.1 bodies, 6.2 pictures, 6.3 checkpoints,
6.4 directions, 6.6 ids, 6.7 lists, 6.8 headers.
"""

import base64
import gzip
import json
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from httpx2 import Response
from starlette.testclient import TestClient

from . import pictures
from .conftest import generate, png

INVALID = (422, "invalid_request")
BAD_JSON = (400, "malformed_json")
LARGE = (413, "payload_too_large")
TYPE = (415, "unsupported_media_type")
BAD_IMAGE = (422, "bad_image")
ABSENT = (404, "not_found")
MALFORMED = (400, "malformed_request")
BAD_HEADER = (400, "bad_header")
LIMIT = (422, "limit_exceeded")
TOO_LARGE = (422, "too_large")
METHOD = (405, "method_not_allowed")
BAD_CURSOR = (400, "bad_cursor")
LONG = (414, "uri_too_long")
UNACCEPTABLE = (406, "not_acceptable")
HEADERS_LARGE = (431, "headers_too_large")
SIGNATURE = (403, "bad_signature")
ANIMATED = (422, "animated")
HOST = (400, "foreign_host")

UNKNOWN_JOB = "job_01ARZ3NDEKTSV4RRFFQ69G5FAV"
UNKNOWN_IMAGE = "img_" + "0" * 64


class Case(NamedTuple):
    number: str
    what: str
    send: Callable[[TestClient], Response]
    answer: tuple[int, str]


def raw(body: bytes | str, **headers: str) -> Callable[[TestClient], Response]:
    headers = {"Content-Type": "application/json"} | {k.replace("_", "-"): v for k, v in headers.items()}
    return lambda client: client.post("/v1/jobs", content=body, headers=headers)


def job(**changes: Any) -> Callable[[TestClient], Response]:
    return raw(json.dumps(generate(**changes)))


def made(**changes: Any) -> Callable[[TestClient], Response]:
    """A job with `changes` in its input."""
    return job(input=changes)


def latents(**changes: Any) -> Callable[[TestClient], Response]:
    return made(source={"latents": changes})


def edit(operation: dict[str, Any], **changes: Any) -> Callable[[TestClient], Response]:
    operations = [{"op": "direction", "name": "smile"} | operation]
    return job(kind="edit", input={"source": {"seeds": [1]}, "operations": operations} | changes)


def image(body: bytes, kind: str = "image/png", **headers: str) -> Callable[[TestClient], Response]:
    return lambda client: client.post("/v1/images", content=body, headers={"Content-Type": kind} | headers)


def form(*parts: tuple[str, Any]) -> Callable[[TestClient], Response]:
    return lambda client: client.post("/v1/images", files=list(parts))


def checkpoint(
    body: bytes, kind: str = "application/octet-stream", **query: str
) -> Callable[[TestClient], Response]:
    parameters = {"name": "mine"} | query
    headers = {"Content-Type": kind}
    return lambda client: client.post("/v1/models", content=body, headers=headers, params=parameters)


def get(path: str, **headers: str) -> Callable[[TestClient], Response]:
    return call("GET", path, **headers)


def call(method: str, path: str, **headers: str) -> Callable[[TestClient], Response]:
    named = {k.replace("_", "-"): v for k, v in headers.items()}
    return lambda client: client.request(method, path, headers=named)


def keyed(*keys: bytes | str) -> Callable[[TestClient], Response]:
    headers: list[tuple[bytes | str, bytes | str]] = [("Content-Type", "application/json")]
    headers += [("Idempotency-Key", key) for key in keys]
    return lambda client: client.post("/v1/jobs", content=json.dumps(generate()), headers=headers)


FLOAT32 = base64.b64encode(struct.pack("<8f", *range(8))).decode()
DEEP = '{"kind":"generate","model":"faces","metadata":' + "[" * 10_000 + "]" * 10_000 + "}"
JSON = json.dumps(generate())

BODIES = [
    Case("6.1.1", "empty body", raw(b""), INVALID),
    Case("6.1.2", "not JSON", raw("kind=generate"), BAD_JSON),
    Case("6.1.3", "truncated JSON", raw(JSON[:-3]), BAD_JSON),
    Case("6.1.4a", "array at the top", raw("[]"), INVALID),
    Case("6.1.4b", "number at the top", raw("17"), INVALID),
    Case("6.1.4c", "null at the top", raw("null"), INVALID),
    Case("6.1.5", "invalid UTF-8", raw(b'{"kind":"\xff"}'), BAD_JSON),
    Case("6.1.6a", "UTF-16", raw(JSON.encode("utf-16")), BAD_JSON),
    Case("6.1.6b", "byte order mark", raw(b"\xef\xbb\xbf" + JSON.encode()), BAD_JSON),
    Case("6.1.7a", "NaN", raw('{"kind":"generate","model":"faces","input":{"psi":NaN}}'), BAD_JSON),
    Case("6.1.7b", "Infinity", raw('{"deadline_s":-Infinity}'), BAD_JSON),
    Case("6.1.8", "1e999", raw('{"kind":"generate","model":"faces","deadline_s":1e999}'), INVALID),
    Case("6.1.9a", "integer of 10^6 digits", raw('{"a":' + "9" * 10**6 + "}"), LARGE),
    Case("6.1.9b", "integer of 10^5 digits", raw('{"a":' + "9" * 10**5 + "}"), BAD_JSON),
    Case("6.1.10", "nesting 10,000 deep", raw(DEEP), BAD_JSON),
    Case("6.1.11", "duplicate keys", raw('{"kind":"generate","model":"faces","model":"a"}'), BAD_JSON),
    Case("6.1.12", "unknown field", job(colour="red"), INVALID),
    Case("6.1.13a", "tenant in the body", job(tenant_id="other"), INVALID),
    Case("6.1.13b", "state in the body", job(state="succeeded"), INVALID),
    Case("6.1.13c", "fence in the body", job(fence=9), INVALID),
    Case("6.1.14a", "__proto__", job(__proto__={"a": 1}), INVALID),
    Case("6.1.14b", "__class__", made(__class__="x"), INVALID),
    Case("6.1.15", "a string for a number", made(psi="3"), INVALID),
    Case("6.1.16", "true for an integer", made(noise_seed=True), INVALID),
    Case("6.1.17a", "no seeds", made(source={"seeds": []}), INVALID),
    Case("6.1.17b", "-1 frames", made(interpolate={"frames": -1}), INVALID),
    Case("6.1.18a", "too many seeds", made(source={"seeds": [1] * 2000}), LIMIT),
    Case("6.1.18b", "too long a range of seeds", made(source={"seeds": "0-5000"}), LIMIT),
    Case("6.1.19", "seed 2^63", made(source={"seeds": [2**63]}), INVALID),
    Case("6.1.20", "negative seed", made(source={"seeds": [-1]}), INVALID),
    Case("6.1.21", "seed 1.5", made(source={"seeds": [1.5]}), INVALID),
    Case("6.1.22", "psi 1e308", made(psi=1e308), INVALID),
    Case("6.1.23", "psi null", made(psi=None), INVALID),
    Case("6.1.24a", "class of a model without classes", made(**{"class": 1}), (422, "unsupported_by_model")),
    Case("6.1.24b", "class out of range", job(model="digits", input={"class": 10}), INVALID),
    Case("6.1.25", "latent too short", latents(space="w", values=[[1.0, 2.0]]), INVALID),
    Case(
        "6.1.26",
        "latent that is not finite",
        raw(JSON[:-1] + ',"input":{"source":{"latents":{"space":"w","values":[[1,2,3,4,5,6,7,1e999]]}}}}'),
        INVALID,
    ),
    Case("6.1.27", "base64 with bad padding", latents(space="w", base64=FLOAT32[:-1], shape=[1, 8]), INVALID),
    Case("6.1.28", "10 MB of latents", latents(space="w", values=[[0.5] * 8] * 250_000), LARGE),
    Case("6.1.29", "empty model name", job(model=""), INVALID),
    Case("6.1.30", "model name of 10^5 characters", job(model="a" * 10**5), INVALID),
    Case("6.1.31a", "NUL in a name", job(model="fa\0ces"), INVALID),
    Case("6.1.31b", "RTL override in metadata", job(metadata={"a": "\u202egnp.exe"}), INVALID),
    Case("6.1.32", "lone surrogate", raw(JSON[:-1] + r',"metadata":{"a":"\ud800"}}'), INVALID),
    Case("6.1.34", "over the limit", raw(JSON + " " * 300_000), LARGE),
    Case("6.1.36", "gzip body", raw(gzip.compress(JSON.encode()), Content_Encoding="gzip"), TYPE),
    Case("6.1.37", "gzip bomb", raw(gzip.compress(b" " * 10**7), Content_Encoding="gzip"), TYPE),
    Case("6.1.38", "no Content-Type", lambda c: c.post("/v1/jobs", content=JSON), TYPE),
    Case("6.1.39", "text/plain", raw(JSON, Content_Type="text/plain"), TYPE),
    Case("6.1.40", "multipart without boundary", image(b"", "multipart/form-data"), MALFORMED),
    Case(
        "6.1.41", "multipart with 10,000 parts", form(*[(f"f{i}", (None, "x")) for i in range(10_000)]), LARGE
    ),
]

PICTURES = [
    Case("6.2.1", "0 bytes", image(b""), BAD_IMAGE),
    Case("6.2.2", "text named .png", form(("file", ("a.png", b"hello", "image/png"))), BAD_IMAGE),
    Case("6.2.3", "truncated PNG", image(png(64, 64)[:80]), BAD_IMAGE),
    Case(
        "6.2.4",
        "truncated JPEG",
        lambda c: image(pictures.jpeg_of_many_scans(1)[:400], "image/jpeg")(c),
        BAD_IMAGE,
    ),
    Case("6.2.5", "bad checksum", image(pictures.bad_checksum()), BAD_IMAGE),
    Case("6.2.6", "0x0", image(pictures.raw_png(0, 0)), BAD_IMAGE),
    Case("6.2.7", "1x1", image(png(1, 1)), (422, "too_small")),
    Case("6.2.8", "1x60000", image(png(1, 60_000, "L")), (422, "aspect")),
    Case("6.2.9", "9400x9400 zeros", lambda c: image(png(9400, 9400, "L"))(c), TOO_LARGE),
    Case("6.2.10", "13000x13000", image(pictures.raw_png(13_000, 13_000, pixels=b"")), TOO_LARGE),
    Case("6.2.11", "20000x20000", image(pictures.raw_png(20_000, 20_000, pixels=b"")), TOO_LARGE),
    Case("6.2.12", "claims 65535x65535", image(pictures.raw_png(65_535, 65_535, pixels=b"")), TOO_LARGE),
    Case("6.2.13", "GIF of 500 frames", lambda c: image(pictures.gif(), "image/gif")(c), TYPE),
    Case("6.2.13b", "GIF that says it is PNG", lambda c: image(pictures.gif(2))(c), TYPE),
    Case("6.2.14", "APNG", lambda c: image(pictures.apng())(c), ANIMATED),
    Case("6.2.15", "animated WebP", lambda c: image(pictures.animated_webp(), "image/webp")(c), ANIMATED),
    Case("6.2.16", "TIFF of two pages", lambda c: image(pictures.tiff())(c), TYPE),
    Case("6.2.17", "EPS", image(b"%!PS-Adobe-3.0 EPSF-3.0\n(x) print"), TYPE),
    Case("6.2.18", "PDF", image(b"%PDF-1.7\n"), TYPE),
    Case("6.2.19", "SVG", image(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), TYPE),
    Case(
        "6.2.20",
        "SVG with an external entity",
        image(b"<?xml version='1.0'?><!DOCTYPE svg [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><svg>&x;</svg>"),
        TYPE,
    ),
    Case("6.2.21", "gzipped FITS", image(gzip.compress(b"SIMPLE  =" + b" " * 10**6)), TYPE),
    Case("6.2.22a", "PSD", image(b"8BPS\0\1" + b"\0" * 40), TYPE),
    Case("6.2.22b", "AVIF", image(b"\0\0\0\x1cftypavif" + b"\0" * 40), TYPE),
    Case("6.2.22c", "JPEG 2000", image(b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0" * 40), TYPE),
    Case("6.2.25", "zTXt bomb", lambda c: image(pictures.text_bomb())(c), BAD_IMAGE),
    Case("6.2.26", "iCCP bomb", lambda c: image(pictures.profile_bomb())(c), BAD_IMAGE),
    Case("6.2.36", "float TIFF", image(b"II*\0" + b"\0" * 60, "image/tiff"), TYPE),
    Case("6.2.38", "1000 scans", lambda c: image(pictures.jpeg_of_many_scans(), "image/jpeg")(c), BAD_IMAGE),
    Case("6.2.40", "Content-Type differs", image(png(), "image/jpeg"), TYPE),
    Case(
        "6.2.44",
        "hash differs",
        lambda c: c.post(
            f"/v1/images?sha256={'0' * 64}", content=png(), headers={"Content-Type": "image/png"}
        ),
        (422, "hash_mismatch"),
    ),
    Case("6.1.34", "picture over the limit", image(b"\x89PNG" + b"\0" * 2_000_000), LARGE),
    Case("6.1.39", "picture as text", image(png(), "text/plain"), TYPE),
    Case("6.1.12", "form with an unknown field", form(("file", ("a", png())), ("x", (None, "1"))), INVALID),
    Case("6.1.40", "form without a file", form(("x", (None, "1"))), MALFORMED),
    Case(
        "6.1.40",
        "form that breaks off",
        image(
            b"--b\r\nContent-Disposition: form-data; name=file\r\n\r\nabc", "multipart/form-data; boundary=b"
        ),
        MALFORMED,
    ),
    Case("6.1.40", "form of garbage", image(b"hello" * 99, "multipart/form-data; boundary=b"), MALFORMED),
    Case(
        "6.1.40", "boundary of 10 kB", image(b"", "multipart/form-data; boundary=" + "b" * 10_000), MALFORMED
    ),
]

MODELS = [
    Case("6.3.24a", "7z", checkpoint(b"7z\xbc\xaf\x27\x1c" + b"\0" * 40), TYPE),
    Case("6.3.24b", "tar", checkpoint(b"model.pt" + b"\0" * 249 + b"ustar"), TYPE),
    Case("6.3.27", "HTML page", checkpoint(b"<!doctype html><title>404</title>"), TYPE),
    Case("6.3.39", "empty file", checkpoint(b""), (422, "bad_checkpoint")),
    Case("6.3.40", "over the limit", checkpoint(b"\x80\2" + b"\0" * 2_000_000), LARGE),
    Case("6.1.29", "no name", checkpoint(b"\x80\2.", name=""), INVALID),
    Case("6.6.16", "name that climbs", checkpoint(b"\x80\2.", name="../faces"), INVALID),
    Case("6.4.34", "name that ships", checkpoint(b"\x80\2.", name="faces"), (409, "name_taken")),
    Case("6.4.32", "direction with a slash", edit({"name": "../smile"}), INVALID),
    Case("6.4.37", "layers out of range", edit({"layers": "4-60"}), INVALID),
    Case("6.4.38", "no layers", edit({"layers": ""}), INVALID),
    Case("6.4.39", "negative layer", edit({"layers": "-1"}), INVALID),
    Case("6.4.40", "strength over the cap", edit({"strength": 1e6}), INVALID),
    Case("6.4.13", "strength that is not finite", edit({"strength": 10**39}), INVALID),
    Case("6.6.8", "unknown model", job(model="nope"), (422, "unknown_model")),
    Case("6.6.3", "unknown direction", edit({"name": "frown"}), (422, "unknown_direction")),
    Case(
        "6.6.9",
        "unknown image",
        job(kind="invert", input={"images": [UNKNOWN_IMAGE]}),
        (422, "unknown_image"),
    ),
    Case(
        "6.6.9b",
        "unknown artifact",
        made(source={"artifact": {"job": UNKNOWN_JOB, "name": "a.png"}}),
        (422, "unknown_artifact"),
    ),
]

IDS = [
    Case("6.6.1", "empty", get("/v1/jobs/"), ABSENT),
    Case("6.6.2", "not of our form", get("/v1/jobs/17"), ABSENT),
    Case("6.6.3", "unknown", get(f"/v1/jobs/{UNKNOWN_JOB}"), ABSENT),
    Case("6.6.5", "unknown, deleted", call("DELETE", f"/v1/jobs/{UNKNOWN_JOB}"), ABSENT),
    Case("6.6.6", "unknown, cancelled", call("POST", f"/v1/jobs/{UNKNOWN_JOB}/cancel"), ABSENT),
    Case("6.6.6b", "unknown, retried", call("POST", f"/v1/jobs/{UNKNOWN_JOB}/retry"), ABSENT),
    Case("6.6.6c", "unknown, followed", get(f"/v1/jobs/{UNKNOWN_JOB}/events"), ABSENT),
    Case("6.6.6d", "unknown, waited for", get(f"/v1/jobs/{UNKNOWN_JOB}?wait=5"), ABSENT),
    Case("6.6.13", "lower case", get(f"/v1/jobs/{UNKNOWN_JOB.lower()}"), ABSENT),
    Case("6.6.14a", "in braces", get(f"/v1/jobs/{{{UNKNOWN_JOB}}}"), ABSENT),
    Case("6.6.14b", "urn", get(f"/v1/jobs/urn:uuid:{UNKNOWN_JOB}"), ABSENT),
    Case("6.6.15", "spaces", get(f"/v1/jobs/%20{UNKNOWN_JOB}%20"), ABSENT),
    Case("6.6.17", "%2e%2e%2f", get("/v1/images/%2e%2e%2f%2e%2e%2fetc%2fpasswd"), ABSENT),
    Case("6.6.18", "double-encoded", get("/v1/images/%252e%252e%252fetc"), ABSENT),
    Case("6.6.19", "NUL", get("/v1/jobs/job%00"), MALFORMED),
    Case("6.6.20", "CRLF", get("/v1/jobs/job%0d%0aX: y"), MALFORMED),
    Case("6.6.21", "SQL", get("/v1/jobs/' or 1=1--"), ABSENT),
    Case("6.6.22", "glob", get("/v1/jobs/*"), ABSENT),
    Case("6.6.23", "Redis separators", get("/v1/jobs/a:b:c"), ABSENT),
    Case("6.6.24", "id of 10 kB", get("/v1/jobs/" + "a" * 10_000), LONG),
    Case("6.6.25", "Unicode digits", get("/v1/jobs/job_" + "\u0661" * 26), ABSENT),
    Case("6.6.26", "invalid UTF-8", get("/v1/jobs/%ff%fe"), MALFORMED),
    Case("6.6.27", "nil UUID", get("/v1/jobs/00000000-0000-0000-0000-000000000000"), ABSENT),
    Case("6.6.28", "-1", get("/v1/jobs/-1"), ABSENT),
    Case("6.6.29a", "image id as a job", get(f"/v1/jobs/{UNKNOWN_IMAGE}"), ABSENT),
    Case("6.6.29b", "job id as an image", get(f"/v1/images/{UNKNOWN_JOB}"), ABSENT),
    Case("6.6.3b", "unknown image", get(f"/v1/images/{UNKNOWN_IMAGE}/content"), ABSENT),
    Case("6.6.3c", "unknown model", get("/v1/models/nope"), ABSENT),
    Case("6.6.16", "model name that climbs", get("/v1/models/..%2f..%2fjobs/directions"), ABSENT),
    Case("6.6.39", "id chosen by the caller", job(id=UNKNOWN_JOB), INVALID),
    Case(
        "6.6.40",
        "id in the body of a cancel",
        lambda c: c.post(f"/v1/jobs/{UNKNOWN_JOB}/cancel", json={"id": "job_x"}),
        INVALID,
    ),
    Case("6.6.7a", "blob without a signature", get("/v1/blobs/t/default/i/a.png"), INVALID),
    Case(
        "6.6.7b",
        "blob with a false signature",
        get("/v1/blobs/t/default/i/a.png?expires=9999999999&filename=a&type=b&signature=00"),
        SIGNATURE,
    ),
    Case(
        "6.6.35",
        "blob that climbs",
        get("/v1/blobs/..%2f..%2fetc%2fpasswd?expires=9999999999&filename=a&type=b&signature=00"),
        SIGNATURE,
    ),
]

LISTS = [
    Case("6.7.1", "limit=0", get("/v1/jobs?limit=0"), INVALID),
    Case("6.7.2", "limit=-1", get("/v1/jobs?limit=-1"), INVALID),
    Case("6.7.3", "limit=10^9", get("/v1/jobs?limit=1000000000"), INVALID),
    Case("6.7.4", "limit=abc", get("/v1/jobs?limit=abc"), INVALID),
    Case("6.7.5", "limit=1.5", get("/v1/jobs?limit=1.5"), INVALID),
    Case("6.7.6", "empty limit", get("/v1/jobs?limit="), INVALID),
    Case("6.7.7", "limit twice", get("/v1/jobs?limit=1&limit=2"), INVALID),
    Case("6.7.8", "garbage cursor", get("/v1/jobs?cursor=garbage"), BAD_CURSOR),
    Case("6.7.15", "cursor of 5 kB", get("/v1/jobs?cursor=" + "a" * 5000), BAD_CURSOR),
    Case(
        "6.7.16",
        "pickle as cursor",
        get("/v1/jobs?cursor=gASVHAAAAAAAAACMBXBvc2l4lIwGc3lzdGVtlJOU"),
        BAD_CURSOR,
    ),
    Case("6.7.21", "unknown filter", get("/v1/jobs?colour=red"), INVALID),
    Case("6.7.22", "unknown state", get("/v1/jobs?status=nope"), INVALID),
    Case("6.7.24", "bad date", get("/v1/jobs?created_after=yesterday"), INVALID),
    Case("6.7.25", "date without a zone", get("/v1/jobs?created_after=2026-01-01T00:00:00"), INVALID),
    Case("6.7.26", "30 February", get("/v1/jobs?created_after=2026-02-30T00:00:00Z"), INVALID),
    Case(
        "6.7.27",
        "after later than before",
        get("/v1/jobs?created_after=2026-02-01T00:00:00Z&created_before=2026-01-01T00:00:00Z"),
        INVALID,
    ),
    Case("6.7.28", "sort", get("/v1/jobs?sort=secret"), INVALID),
    Case("6.7.29", "sort injection", get("/v1/jobs?sort=id;drop table jobs"), INVALID),
    Case("6.7.30", "page and offset", get("/v1/jobs?page=2&offset=5"), INVALID),
    Case("6.7.33", "filter of 10 kB", get("/v1/jobs?model=" + "a" * 10_000), LONG),
    Case("6.7.33b", "filter of 1 kB", get("/v1/jobs?model=" + "a" * 1000), INVALID),
    Case("6.7.34", "500 parameters", get("/v1/jobs?" + "&".join(f"a{i}=1" for i in range(500))), LONG),
    Case("6.7.35", "include_total", get("/v1/jobs?include_total=true"), INVALID),
    Case("6.7.37", "fields of secrets", get("/v1/jobs?fields=secret"), INVALID),
    Case("6.7.38", "expand", get(f"/v1/jobs/{UNKNOWN_JOB}?expand=all"), INVALID),
    Case("6.7.39a", "negative zero", get("/v1/jobs?limit=-0"), INVALID),
    Case("6.7.39b", "+5", get("/v1/jobs?limit=%2B5"), INVALID),
    Case("6.7.40", "full-width digits", get("/v1/jobs?limit=\uff15"), INVALID),
    Case("6.7.21b", "metadata key with a quote", get("/v1/jobs?metadata.a'b=1"), INVALID),
    Case("6.7.3b", "wait of an hour", get(f"/v1/jobs/{UNKNOWN_JOB}?wait=3600"), INVALID),
    Case("6.7.2b", "after_seq=-1", get(f"/v1/jobs/{UNKNOWN_JOB}?after_seq=-1"), INVALID),
]

HEADERS = [
    Case(
        "6.8.18",
        "X-HTTP-Method-Override",
        call("GET", f"/v1/jobs/{UNKNOWN_JOB}", X_HTTP_Method_Override="DELETE"),
        ABSENT,
    ),
    Case("6.8.19", "foreign Host", get("/v1/jobs", Host="evil.example"), HOST),
    Case("6.8.19b", "rebound name", get("/v1/jobs", Host="127.0.0.1.evil.example:8000"), HOST),
    Case("6.8.24", "Expect", raw(JSON, Expect="x"), (417, "expectation_failed")),
    Case("6.8.25", "100 kB of headers", get("/v1/jobs", X_Long="a" * 100_000), HEADERS_LARGE),
    Case(
        "6.8.26",
        "1000 headers",
        lambda c: c.get("/v1/jobs", headers={f"X-{i}": "a" for i in range(1000)}),
        HEADERS_LARGE,
    ),
    Case(
        "6.8.31", "Accept: image/bmp", get("/v1/models/faces/samples.png", Accept="image/bmp"), UNACCEPTABLE
    ),
    Case("6.8.31b", "JSON refused", get("/v1/jobs", Accept="application/json;q=0, text/html"), UNACCEPTABLE),
    Case("6.8.33", "TRACE", call("TRACE", "/v1/jobs"), METHOD),
    Case("6.8.34", "unknown method", call("BREW", "/v1/jobs"), METHOD),
    Case("6.8.35", "foreign Origin", raw(JSON, Origin="https://evil.example"), (403, "foreign_origin")),
    Case("6.8.36", "preflight", call("OPTIONS", "/v1/jobs", Origin="https://evil.example"), METHOD),
    Case("6.8.37", "empty key", keyed(""), BAD_HEADER),
    Case("6.8.38", "key of 256 characters", keyed("k" * 256), BAD_HEADER),
    Case("6.8.39", "key with a control character", keyed(b"a\tb"), BAD_HEADER),
    Case("6.8.39b", "key that is not ASCII", keyed("k\u00e9".encode()), BAD_HEADER),
    Case("6.8.37b", "two keys", keyed("a", "b"), BAD_HEADER),
    Case(
        "6.8.44",
        "Last-Event-ID that is no number",
        get(f"/v1/jobs/{UNKNOWN_JOB}/events", Last_Event_ID="x"),
        BAD_HEADER,
    ),
    Case("6.8.34b", "PUT of a job", call("PUT", f"/v1/jobs/{UNKNOWN_JOB}"), METHOD),
    Case("6.6.2b", "unknown address", get("/v2/jobs"), ABSENT),
]

CASES = BODIES + PICTURES + MODELS + IDS + LISTS + HEADERS
