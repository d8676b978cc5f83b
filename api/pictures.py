"""Uploaded pictures: what they claim to be, and decoding them away from the gateway.

A picture is decoded in a child process that serves this one file, with limits on CPU, memory and wall time.
"""

import json
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from api.problems import HttpProblem
from jobs.errors import BadImage

PROGRAM = Path(__file__).with_name("decoding.py")
AT_ONCE = 4  # children
CPU_S = 10  # decoding and writing; 16 megapixels of noise take about half of it
WALL_S = 30
MEMORY_BYTES = 512 * 1024 * 1024  # the largest picture in the costliest form fits
MAX_SCANS = 200  # of a progressive JPEG; real ones have about ten
TOO_LONG = "The picture takes too long to decode."

TAKEN = ("image/png", "image/jpeg", "image/webp")
UNSAID = ("", "application/octet-stream")

_SIGNATURES = (
    ("image/png", rb"\x89PNG\r\n\x1a\n"),
    ("image/jpeg", rb"\xff\xd8\xff"),
    ("image/webp", rb"RIFF....WEBP"),
    ("image/gif", rb"GIF8"),
    ("image/bmp", rb"BM.{12}[\x0c\x28\x6c\x7c]\x00\x00\x00"),
    ("image/tiff", rb"II\*\x00|MM\x00\*|II\+\x00|MM\x00\+"),
    ("application/postscript", rb"%!PS|\xc5\xd0\xd3\xc6"),
    ("application/pdf", rb"%PDF"),
    ("image/svg+xml", rb"\s*<(\?xml|!DOCTYPE svg|svg|!--)"),
    ("image/fits", rb"SIMPLE  ="),
    ("application/gzip", rb"\x1f\x8b"),
    ("image/vnd.adobe.photoshop", rb"8BPS"),
    ("image/icns", rb"icns"),
    ("image/vnd-ms.dds", rb"DDS "),
    ("image/jp2", rb"\x00\x00\x00\x0cjP  |\xff\x4f\xff\x51"),
    ("image/avif or image/heic", rb"....ftyp"),
    ("image/jxl", rb"\xff\x0a|\x00\x00\x00\x0cJXL "),
    ("image/x-icon", rb"\x00\x00\x01\x00"),
)
_KNOWN = tuple((kind, re.compile(pattern, re.DOTALL | re.IGNORECASE)) for kind, pattern in _SIGNATURES)


def sniffed(head: bytes) -> str | None:
    """What the first bytes say the file is; None if nothing that we know."""
    return next((kind for kind, pattern in _KNOWN if pattern.match(head)), None)


def refuse_by_label(path: Path, said: str) -> None:
    """Raises 415 or 422 if the file in `path` is no picture that we take, or not what `said` says."""
    if said not in TAKEN + UNSAID:
        raise HttpProblem("unsupported_media_type", "Send a PNG, JPEG or WebP file, raw or as multipart.")
    with path.open("rb") as file:
        found = sniffed(file.read(64))
    if found is None:
        raise BadImage("This is not a picture that we know; send a PNG, JPEG or WebP file.")
    if found not in TAKEN:
        raise HttpProblem("unsupported_media_type", f"Pictures of type {found} are not taken.")
    if said in TAKEN and said != found:
        raise HttpProblem("unsupported_media_type", f"The Content-Type says {said}; the file is {found}.")
    if found == "image/jpeg" and path.read_bytes().count(b"\xff\xda") > MAX_SCANS:
        raise BadImage(f"The JPEG has more than {MAX_SCANS} scans.")


@dataclass(frozen=True)
class Picture:
    width: int
    height: int


class Decoder:
    """Decodes pictures, each in a child of its own. Safe to call from many threads."""

    def __init__(self, *, cpu_s: int = CPU_S, wall_s: float = WALL_S) -> None:
        self._command = [sys.executable, "-I", str(PROGRAM), str(cpu_s), str(MEMORY_BYTES)]
        self._wall_s = wall_s

    def reencode(self, source: Path, target: Path) -> Picture:
        """Write the picture in `source` as plain PNG to `target`. Raises BadImage; blocks."""
        command = [*self._command, str(source), str(target)]
        try:
            child = subprocess.run(command, capture_output=True, env={}, timeout=self._wall_s, check=False)
        except subprocess.TimeoutExpired:
            raise BadImage(TOO_LONG) from None
        if child.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
            raise BadImage(TOO_LONG)
        if child.returncode != 0:  # the decoder itself has crashed
            raise BadImage("The picture cannot be decoded.")
        answer = json.loads(child.stdout)
        if "code" in answer:
            raise BadImage(answer["detail"], code=answer["code"])
        return Picture(answer["width"], answer["height"])
