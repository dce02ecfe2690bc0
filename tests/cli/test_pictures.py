"""Arrays that are images become pictures of characters that fit; other arrays do not."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from atdata.cli.pictures import as_image, beside, picture
from atdata.cli.terminal import Colour, Style

PLAIN = Style()
FULL = Style(colour=Colour.FULL)
PALETTE = Style(colour=Colour.PALETTE)


def _characters(line: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", line)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((8, 8), np.uint8),
        np.eye(8, dtype=bool),
        np.zeros((8, 8, 1), np.uint8),
        np.zeros((8, 8, 3), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((3, 8, 8), np.float32),
        np.linspace(-1, 1, 64).reshape(8, 8),
        np.linspace(0, 255, 64, dtype=np.float32).reshape(8, 8),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_images_are_recognized(array: NDArray[np.generic]) -> None:
    """Grey, RGB and RGBA, channels last or first, in the dtypes and ranges that images have."""
    image = as_image(array)

    assert image is not None
    assert image.shape == (8, 8, 3)
    assert 0 <= image.min() <= image.max() <= 1


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(64, np.uint8),
        np.zeros((8, 8), np.int64),
        np.zeros((2, 8), np.uint8),
        np.zeros((8, 100), np.uint8),
        np.zeros((8, 8, 2), np.uint8),
        np.zeros((0, 8), np.uint8),
        np.zeros((2, 8, 8, 3), np.uint8),
        np.linspace(-300, 300, 64).reshape(8, 8),
        np.full((8, 8), np.nan),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_other_arrays_are_not_images(array: NDArray[np.generic]) -> None:
    """Vectors, tables, narrow strips, wide ranges and NaN are shown as figures."""
    assert as_image(array) is None


def test_grey_levels_are_stretched() -> None:
    """An image of 16 levels is as visible as one of 256."""
    image = as_image(np.arange(16, dtype=np.uint8).reshape(4, 4))

    assert image is not None
    assert (image.min(), image.max()) == (0.0, 1.0)


def test_a_picture_shows_what_the_image_shows() -> None:
    """Without colour, dark is blank and bright is full, two characters a pixel; small images are enlarged."""
    array = np.zeros((16, 16), np.uint8)
    array[:8, :8] = 255
    image = as_image(array)
    assert image is not None

    assert picture(image, style=PLAIN) == ["█" * 16] * 8 + [""] * 8
    assert picture(image, style=Style(unicode=False)) == ["@" * 16] * 8 + [""] * 8
    assert picture(image[4:12:2, 4:12:2], style=PLAIN) == ["█" * 8] * 4 + [""] * 4


def test_half_blocks_hold_two_pixels_each() -> None:
    """In colour a character is two pixels: the upper one its foreground, the lower one its background."""
    array = np.zeros((16, 16, 3), np.uint8)
    array[0] = (255, 0, 0)
    image = as_image(array)
    assert image is not None

    lines = picture(image, style=FULL)

    assert len(lines) == 8
    assert lines[0] == "\x1b[38;2;255;0;0;48;2;0;0;0m" + "▀" * 16 + "\x1b[0m"
    assert picture(image, style=PALETTE)[0] == "\x1b[38;5;196;48;5;16m" + "▀" * 16 + "\x1b[0m"


@given(st.integers(4, 700), st.integers(4, 700), st.integers(4, 64), st.sampled_from([PLAIN, FULL, PALETTE]))
def test_pictures_fit(height: int, width: int, columns: int, style: Style) -> None:
    """A picture of any image is at most ``columns`` wide, and in colour ends each line with a reset."""
    image = np.random.default_rng(0).random((height, width, 3))

    lines = picture(image, style=style, columns=columns)

    assert 1 <= len(lines) <= columns
    assert all(len(_characters(line)) <= columns for line in lines)
    assert style.colour is Colour.NONE or all(line.endswith("\x1b[0m") for line in lines)


@given(st.integers(1, 8), st.integers(1, 8))
def test_shrinking_keeps_the_mean(height: int, width: int) -> None:
    """Each pixel of a smaller picture is the mean of those that it stands for: a grey area keeps its grey."""
    image = np.full((height * 64, width * 64, 3), 0.5)

    (line,) = {_characters(line) for line in picture(image, style=PLAIN, columns=16)}

    assert set(line) == {"▒"}


def test_pictures_stand_beside_each_other() -> None:
    """Pictures of different heights share their lines, each below its caption."""
    assert beside([["ab", "cd"], ["ef"]], captions=["1", "2"], columns=3) == ["1    2", "ab   ef", "cd"]
