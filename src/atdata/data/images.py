"""Pictures as arrays: ``.jpg`` and ``.png`` members (extra ``images``).

Decoding asks for the size in the picture's header first, so that a forged one costs no memory. A JPEG becomes
``(height, width, 3)`` RGB, whatever it holds; a PNG keeps what it is: grey ``(height, width)``, RGB or RGBA, 8 or
16 bit. simplejpeg is used where it is installed: it is faster than Pillow, and raises on damaged files, which Pillow
passes.
"""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atdata.errors import LimitError, SchemaMismatchError, ShardError

JPEG_EXTENSIONS = frozenset(("jpg", "jpeg"))
IMAGE_EXTENSIONS = JPEG_EXTENSIONS | {"png"}
MAX_PIXELS = 178_956_970  # width times height; where Pillow refuses: 2 * PIL.Image.MAX_IMAGE_PIXELS
JPEG_QUALITY = 95  # of 100, colour not subsampled: the highest that Pillow's manual advises


def decode_image(extension: str, data: bytes | bytearray | memoryview) -> NDArray[Any]:
    """Decode a JPEG or PNG.

    Args:
        extension: One of `IMAGE_EXTENSIONS`.

    Returns:
        For a JPEG ``(height, width, 3)`` uint8; for a PNG ``(height, width[, channels])`` uint8, or uint16 where it is
        grey with 16 bit.

    Raises:
        ShardError: The data are not such a picture, or damaged.
        LimitError: It has more than `MAX_PIXELS` pixels.
        ImportError: The extra ``images`` is not installed.
    """
    return _decode_jpeg(data) if extension in JPEG_EXTENSIONS else _decode_png(data)


def _decode_jpeg(data: bytes | bytearray | memoryview) -> NDArray[Any]:
    try:
        import simplejpeg
    except ImportError:
        return _decode_by_pillow(data, "JPEG")
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
        _check_pixels(width, height)
        if colours in ("CMYK", "YCCK"):  # the library behind simplejpeg has no way from these to RGB
            return _decode_by_pillow(data, "JPEG")
        pixels: NDArray[Any] = simplejpeg.decode_jpeg(data, colorspace="RGB")
    except ValueError as error:
        if isinstance(error, LimitError):
            raise
        raise ShardError(f"a JPEG does not decode: {error}") from error
    return pixels


def _decode_png(data: bytes | bytearray | memoryview) -> NDArray[Any]:
    return _decode_by_pillow(data, "PNG")


def _decode_by_pillow(data: bytes | bytearray | memoryview, kind: str) -> NDArray[Any]:
    image_module = _pillow()
    try:
        with image_module.open(io.BytesIO(data), formats=[kind]) as image:
            _check_pixels(*image.size)
            if kind == "JPEG" and image.mode != "RGB":
                return np.array(image.convert("RGB"))
            if image.mode == "P":
                return np.array(image.convert("RGBA" if "transparency" in image.info else "RGB"))
            if image.mode == "1":
                return np.array(image.convert("L"))
            pixels = np.array(image)
            return pixels.astype(np.uint16) if image.mode == "I" else pixels
    except image_module.DecompressionBombError as error:
        raise LimitError(f"a {kind} of too many pixels: {error}", limit=MAX_PIXELS) from error
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError) as error:
        if isinstance(error, LimitError):
            raise
        raise ShardError(f"a {kind} does not decode: {error}") from error


def _check_pixels(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise LimitError(f"a picture of {width:,} x {height:,} pixels; the limit is {MAX_PIXELS:,}", limit=MAX_PIXELS)


def encode_image(extension: str, pixels: NDArray[Any]) -> bytes:
    """Encode an array as PNG, without loss, or as JPEG, with loss.

    The bytes depend on the release of Pillow: a dataset that must come out the same everywhere is written from bytes.

    Args:
        extension: One of `IMAGE_EXTENSIONS`.
        pixels: uint8, ``(height, width)`` or ``(height, width, 3)``; for a PNG ``(height, width, 4)`` too.

    Raises:
        SchemaMismatchError: The array is not such a picture.
        ImportError: The extra ``images`` is not installed.
    """
    jpeg = extension in JPEG_EXTENSIONS
    channels = (3,) if jpeg else (3, 4)
    grey = pixels.ndim == 2
    if (
        pixels.dtype != np.uint8
        or not (grey or (pixels.ndim == 3 and pixels.shape[2] in channels))
        or 0 in pixels.shape
    ):
        raise SchemaMismatchError(
            f"an array of {pixels.dtype} and shape {pixels.shape} is no picture: .{extension} takes uint8, "
            "(height, width) or (height, width, 3); or give bytes"
        )
    out = io.BytesIO()
    image = _pillow().fromarray(np.ascontiguousarray(pixels))
    if jpeg:
        image.save(out, format="JPEG", quality=JPEG_QUALITY, subsampling=0)
    else:
        image.save(out, format="PNG")
    return out.getvalue()


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("pictures need the extra images: pip install 'atdata[images]'") from error
    return Image
