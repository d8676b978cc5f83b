"""Pictures that should not be: each is built here, byte by byte where no encoder would write it."""

import io
import struct
import zipfile
import zlib

from PIL import Image

from .conftest import encoded, png

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def raw_png(width: int, height: int, *extra: bytes, pixels: bytes | None = None) -> bytes:
    """A grey PNG whose header claims what it likes; `extra` chunks stand before the pixels."""
    if pixels is None:
        pixels = b"\0" * ((width + 1) * height)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    packed = zlib.compress(pixels, 9)
    chunks = [chunk(b"IHDR", header), *extra, chunk(b"IDAT", packed), chunk(b"IEND", b"")]
    return SIGNATURE + b"".join(chunks)


def bad_checksum() -> bytes:
    data = bytearray(png())
    data[data.index(b"IDAT") + 6] ^= 1
    return bytes(data)


def text_bomb() -> bytes:
    return raw_png(32, 32, chunk(b"zTXt", b"note\0\0" + zlib.compress(b"\0" * 100_000_000, 9)))


def profile_bomb() -> bytes:
    return raw_png(32, 32, chunk(b"iCCP", b"icc\0\0" + zlib.compress(b"\0" * 80_000_000, 9)))


def apng() -> bytes:
    frames = [Image.new("RGB", (32, 32), color) for color in ("red", "blue")]
    return encoded(frames[0], "PNG", save_all=True, append_images=frames[1:])


def animated_webp() -> bytes:
    frames = [Image.new("RGB", (32, 32), color) for color in ("red", "blue")]
    return encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:])


def gif(frames: int = 500) -> bytes:
    pictures = [Image.new("P", (16, 16), i % 250) for i in range(frames)]
    return encoded(pictures[0], "GIF", save_all=True, append_images=pictures[1:])


def tiff() -> bytes:
    pages = [Image.new("RGB", (32, 32)) for _ in range(2)]
    return encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:])


def jpeg_of_many_scans(scans: int = 1000) -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    data = encoded(Image.radial_gradient("L"), "JPEG", progressive=True)
    start = data.rindex(b"\xff\xda")
    scan = data[start:-2]
    return data[:start] + scan * scans + data[-2:]


def with_zip_behind(picture: bytes) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("payload.txt", "not a picture")
    return picture + archive.getvalue()
