"""What a picture carries about how it was made, and where each format keeps it.

PNG: an iTXt chunk with the keyword `ganserve`, right after IHDR (PNG specification, third edition, 11.3.3.4).
JPEG: EXIF UserComment. WebP: XMP. MP4: the `comment` tag. The text is always the same JSON object.

It holds nothing that changes from one run to the next, no time and no job id, so that the same request
gives the same bytes.
"""

import json
import struct
import zlib
from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import quoteattr

from PIL import Image

VERSION = 1  # of the JSON object
KEYWORD = "ganserve"
EXIF_IFD, USER_COMMENT = 0x8769, 0x9286
IHDR_END = 8 + 12 + 13  # signature, the chunk's frame, its body
XMP_NAMESPACE = "urn:ganserve:provenance"


def provenance(
    kind: str, model: str, model_sha256: str, settings: Mapping[str, Any], **picture: Any
) -> dict[str, Any]:
    """The object: who made the picture, from which settings, and what is this picture's own (seed, ...)."""
    return {
        "version": VERSION,
        "kind": kind,
        "model": model,
        "model_sha256": model_sha256,
        "input": dict(settings),
    } | picture


def to_text(about: Mapping[str, Any]) -> str:
    """Canonical JSON in ASCII: sorted keys, no blanks."""
    return json.dumps(about, sort_keys=True, separators=(",", ":"), allow_nan=False)


def png_with_text(png: bytes, text: str) -> bytes:
    """Put an iTXt chunk after IHDR."""
    body = (
        KEYWORD.encode() + b"\0\0\0\0\0" + text.encode()
    )  # not compressed; no language, no translated keyword
    chunk = struct.pack(">I", len(body)) + b"iTXt" + body + struct.pack(">I", zlib.crc32(b"iTXt" + body))
    return png[:IHDR_END] + chunk + png[IHDR_END:]


def exif_with_text(text: str) -> bytes:
    """An EXIF block whose UserComment is the text, which must be ASCII."""
    exif = Image.Exif()
    exif.get_ifd(EXIF_IFD)[USER_COMMENT] = b"ASCII\0\0\0" + text.encode("ascii")
    return exif.tobytes()


def xmp_with_text(text: str) -> bytes:
    """An XMP packet with the text as the attribute `ganserve:provenance`."""
    rdf = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        f'<rdf:RDF xmlns:rdf="{rdf}"><rdf:Description rdf:about="" xmlns:ganserve="{XMP_NAMESPACE}" '
        f"ganserve:provenance={quoteattr(text)}/></rdf:RDF></x:xmpmeta>"
    ).encode()
