"""Arrays as small pictures of characters.

In colour a character is two pixels, one above the other: ``▀`` with the upper one as its foreground and the lower one
as its background. Without colour a pixel is two shade characters beside each other. Both come out about square, since
a character is about twice as high as wide. Pure functions; nothing here prints.
"""

import numpy as np
from numpy.typing import NDArray

from atdata.cli.terminal import Colour, Style

MIN_SIDE = 4  # pixels; smaller arrays are shown as numbers
MAX_ASPECT = 8  # longer ones are tables or sequences, not images
SMALL = 16  # characters; images that would take half of this or less are enlarged, so that one sees something
_SHADES = " ░▒▓█"
_SHADES_ASCII = " .:-=+*#%@"
_MOST_PIXELS = 512  # a side; larger images are thinned out before they are averaged


def as_image(array: NDArray[np.generic]) -> NDArray[np.float64] | None:
    """The array as an image, where it looks like one.

    Images are ``(height, width)``, with 1, 3 or 4 channels last or first, of uint8, bool, or floats in a range that
    images have: 0 to 1, -1 to 1, or 0 to 255.

    Returns:
        Shape ``(height, width, 3)`` float64, 0 to 1; None where it is no image. One channel is stretched from its
        least to its greatest value, so that 16 grey levels fill the range, too.
    """
    pixels = _pixels(array)
    if pixels is None:
        return None
    height, width = pixels.shape[:2]
    if min(height, width) < MIN_SIDE or max(height, width) > MAX_ASPECT * min(height, width):
        return None
    thin = max(1, max(height, width) // _MOST_PIXELS)
    pixels = pixels[::thin, ::thin]
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        return None
    values = pixels.astype(np.float64)
    low, high = float(values.min()), float(values.max())
    if pixels.dtype.kind == "f" and not (low >= -1 and high <= 1) and not (low >= 0 and high <= 255):
        return None
    if values.shape[2] == 1:
        span = high - low
        values = (values - low) / span if span else np.full_like(values, 0.5)
        return np.repeat(values, 3, axis=2)
    if low < 0:
        values = (values + 1) / 2
    elif high > 1 or pixels.dtype == np.uint8:
        values = values / 255
    if values.shape[2] == 4:
        values = values[:, :, :3] * values[:, :, 3:]
    return values


def _pixels(array: NDArray[np.generic]) -> NDArray[np.generic] | None:
    if array.dtype != np.uint8 and array.dtype.kind not in "bf":
        return None
    if array.ndim == 2:
        return array[:, :, np.newaxis]
    if array.ndim != 3:
        return None
    if array.shape[2] in (1, 3, 4):
        return array
    if array.shape[0] in (1, 3, 4):
        return np.moveaxis(array, 0, 2)
    return None


def picture(image: NDArray[np.float64], *, style: Style, columns: int = 32) -> list[str]:
    """Lines of characters that show an image.

    Args:
        image: Shape ``(height, width, 3)``, 0 to 1, as `as_image` gives it.
        columns: Most characters in a line.
    """
    height, width = image.shape[:2]
    if style.colour is not Colour.NONE:
        return _half_blocks(_resize(image, *_fit(height, width, columns, SMALL)), style.colour)
    pixels = _resize(image, *_fit(height, width, columns // 2, SMALL // 2))
    luminance = pixels @ np.array([0.299, 0.587, 0.114])  # Rec. ITU-R BT.601
    shades = _SHADES if style.unicode else _SHADES_ASCII
    levels = np.minimum((luminance * len(shades)).astype(int), len(shades) - 1)
    return ["".join(shades[level] * 2 for level in row).rstrip() for row in levels]


def _fit(height: int, width: int, side: int, small: int) -> tuple[int, int]:
    """Height and width in pixels: no side longer than ``side``; small images enlarged, at most to ``small``."""
    longer = max(height, width)
    if longer <= side:
        enlarge = max(1, min(side, small) // longer)
        return height * enlarge, width * enlarge
    return max(1, round(height * side / longer)), max(1, round(width * side / longer))


def _resize(image: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """Each pixel is the mean of the pixels that it stands for, or one of them where there are fewer."""
    for axis, size in ((0, height), (1, width)):
        length = image.shape[axis]
        if size >= length:
            image = np.take(image, np.arange(size) * length // size, axis=axis)
        else:
            edges = np.arange(size) * length // size
            counts = np.diff(np.append(edges, length))
            shape = (-1, 1, 1) if axis == 0 else (1, -1, 1)
            image = np.add.reduceat(image, edges, axis=axis) / counts.reshape(shape)
    return image


def _half_blocks(pixels: NDArray[np.float64], colour: Colour) -> list[str]:
    levels = np.clip(np.rint(pixels * 255), 0, 255).astype(int)
    lines = []
    for top in range(0, len(levels), 2):
        upper = levels[top]
        lower = levels[top + 1] if top + 1 < len(levels) else None
        line, before = [], ""
        for column in range(len(upper)):
            codes = f"38;{_code(upper[column], colour)};" + (
                f"48;{_code(lower[column], colour)}" if lower is not None else "49"
            )
            line.append("▀" if codes == before else f"\x1b[{codes}m▀")
            before = codes
        lines.append("".join(line) + "\x1b[0m")
    return lines


def _code(rgb: NDArray[np.int_], colour: Colour) -> str:
    """The colour's number in an SGR sequence: ECMA-48 8.3.117 and ISO 8613-6."""
    red, green, blue = (int(level) for level in rgb)
    if colour is Colour.FULL:
        return f"2;{red};{green};{blue}"
    if max(red, green, blue) - min(red, green, blue) < 10:
        # The 24 greys of the palette of 256 are 8, 18 ... 238; black and white come from its cube.
        grey = round((red - 8) / 10)
        return f"5;{16 if grey < 0 else 231 if grey > 23 else 232 + grey}"
    cube = [min(5, max(0, (level - 35) // 40)) if level >= 75 else int(level >= 48) for level in (red, green, blue)]
    return f"5;{16 + 36 * cube[0] + 6 * cube[1] + cube[2]}"


def beside(pictures: list[list[str]], *, captions: list[str], columns: int, gap: int = 2) -> list[str]:
    """Pictures side by side, each below its caption.

    Args:
        pictures: Lines of each picture.
        captions: A short line for each.
        columns: Characters that each picture takes; lines without colour are padded to it.
    """
    height = max(len(lines) for lines in pictures)
    rows = [(" " * gap).join(caption.ljust(columns) for caption in captions).rstrip()]
    for row in range(height):
        cells = [lines[row] if row < len(lines) else "" for lines in pictures]
        # A line in colour ends with a reset and is as wide as its picture; counting its characters would be wrong.
        rows.append((" " * gap).join(cell if cell.endswith("\x1b[0m") else cell.ljust(columns) for cell in cells))
    return [row.rstrip() for row in rows]
