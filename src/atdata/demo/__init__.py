"""Real data to try atdata with: 1,797 handwritten digits, shipped with the package.

Only the data and their sample type; what ``atdata demo`` does with them is `atdata.cli.demo`. Source and licence
stand in ``SOURCE.md`` beside this file.

Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998,
https://doi.org/10.24432/C50P49, CC BY 4.0.
"""

import gzip
from collections.abc import Iterator
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from atdata.dataset import packable

TITLE = "Handwritten digits"
DESCRIPTION = (
    "1,797 handwritten digits as images of 8x8 pixels with values of 0 to 16. "
    "E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits (test set), UCI Machine Learning Repository, "
    "1998, https://doi.org/10.24432/C50P49"
)
LICENSE = "CC-BY-4.0"
TAGS = ("images", "digits", "classification")


@packable
class Digit:
    """A handwritten digit.

    Attributes:
        image: The picture, shape ``(8, 8)``, uint8; 0 is paper, 16 is ink.
        label: The digit that it shows, 0 to 9.
    """

    image: NDArray[np.uint8]
    label: int


def read_digits() -> Iterator[Digit]:
    """The 1,797 digits of the test set, in the order of the source."""
    packed = files("atdata.demo").joinpath("digits.csv.gz").read_bytes()
    rows = np.loadtxt(gzip.decompress(packed).decode("ascii").splitlines(), dtype=np.uint8, delimiter=",")
    for row in rows:
        yield Digit(image=row[:64].reshape(8, 8).copy(), label=int(row[64]))
