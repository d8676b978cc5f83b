"""The child process that decodes one picture: `python -I decoding.py CPU_SECONDS MEMORY_BYTES SOURCE TARGET`.

It stands alone: it imports Pillow and nothing of ours, writes the picture in SOURCE anew as PNG to TARGET,
answers one line of JSON and ends. A file that fools the decoder has a short life and little room.

What becomes of a picture: EXIF orientation is applied; an ICC profile that can be read is applied (to sRGB)
and one that cannot is ignored; transparency is laid on white; 16-bit, palette, grey, 1-bit and CMYK pictures
become 8-bit RGB; every other piece of metadata, and whatever follows the picture in the file, is left behind.
"""

import io
import json
import resource
import sys
import warnings

from PIL import Image, ImageCms, ImageOps, JpegImagePlugin, PngImagePlugin, WebPImagePlugin  # noqa: F401

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_PIXELS = 16_000_000
MIN_SIDE = 16
MAX_ASPECT = 8


class Refused(Exception):
    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code, self.detail = code, detail


def reencode(source: str, target: str) -> tuple[int, int]:
    """Write the picture in `source` as plain RGB PNG to `target`; (width, height). Raises Refused."""
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    try:
        _verify(source)
        with Image.open(source, formats=FORMATS) as picture:
            plain = _upright_rgb(picture)
            plain.save(target, format="PNG", compress_level=1)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Refused("too_large", f"The picture has more than {MAX_PIXELS} pixels.") from None
    except (Refused, MemoryError):
        raise
    except (
        Exception
    ):  # decoders have no one class for broken files: OSError, ValueError, SyntaxError, struct.error …
        raise Refused("bad_image", "The picture cannot be decoded; it may be cut off or damaged.") from None
    return plain.size


def _verify(source: str) -> None:
    with Image.open(source, formats=FORMATS) as picture:
        _refuse_extremes(*picture.size)
        if getattr(picture, "is_animated", False):
            raise Refused("animated", "Only still pictures are taken.")
        picture.verify()  # checksums of every PNG chunk; afterwards the picture must be opened again


def _refuse_extremes(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise Refused("too_large", f"The picture has more than {MAX_PIXELS} pixels.")
    if min(width, height) < 1:
        raise Refused("bad_image", "The picture has no pixels.")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise Refused("aspect", f"One side is more than {MAX_ASPECT} times the other.")
    if min(width, height) < MIN_SIDE:
        raise Refused("too_small", f"A side has fewer than {MIN_SIDE} pixels.")


def _upright_rgb(picture: Image.Image) -> Image.Image:
    picture.load()
    profile = picture.info.get("icc_profile")
    upright = ImageOps.exif_transpose(picture)
    return _eight_bit_rgb(_in_srgb(upright, profile))


def _in_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    if not profile or picture.mode not in ("RGB", "RGBA", "L", "CMYK"):
        return picture
    mode = "RGBA" if picture.mode == "RGBA" else "RGB"
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(
            picture, source, ImageCms.createProfile("sRGB"), outputMode=mode
        )
    except (ImageCms.PyCMSError, OSError, ValueError):
        return picture
    return converted or picture


def _eight_bit_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):  # 16-bit grey: Pillow would clip it, so scale
        picture = picture.convert("I").point(lambda v: v * (1 / 257)).convert("L")
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return picture.convert("RGB")


def _limit(cpu_seconds: int, memory_bytes: int) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu = int(used.ru_utime + used.ru_stime) + cpu_seconds
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> None:
    cpu_seconds, memory_bytes, source, target = sys.argv[1:]
    _limit(int(cpu_seconds), int(memory_bytes))
    reply: dict[str, object]
    try:
        width, height = reencode(source, target)
        reply = {"width": width, "height": height}
    except Refused as refused:
        reply = {"code": refused.code, "detail": refused.detail}
    except MemoryError:
        reply = {"code": "bad_image", "detail": "The picture takes too much memory to decode."}
    print(json.dumps(reply))


if __name__ == "__main__":
    main()
