"""Samples written as Parquet files, by pandas: `Dataset.to_parquet`. Needs the extra ``parquet``.

All samples of a file are in memory while it is written; ``maxcount`` bounds them.
"""

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from atdata.data.order import batched


def write_parquet(
    samples: Iterable[Any],
    path: Path,
    *,
    row: Callable[[Any], dict[str, Any]] | None,
    maxcount: int | None,
    options: dict[str, Any],
) -> None:
    """Write samples as rows.

    Args:
        samples: What to write.
        path: The file; with ``maxcount``, ``{stem}-000000{suffix}`` and so on beside it.
        row: Makes the row of a sample; None takes all fields.
        maxcount: Most rows in one file; None writes one file.
        options: Handed to `pandas.DataFrame.to_parquet`.

    Raises:
        ModuleNotFoundError: The extra is not installed.
    """
    frame = _pandas().DataFrame
    rows = map(row or _all_fields, samples)
    if maxcount is None:
        frame(list(rows)).to_parquet(path, **options)
        return
    for number, segment in enumerate(batched(rows, maxcount)):
        frame(segment).to_parquet(path.with_name(f"{path.stem}-{number:06d}{path.suffix}"), **options)


def _all_fields(sample: Any) -> dict[str, Any]:
    return sample if isinstance(sample, dict) else dataclasses.asdict(sample)


def _pandas() -> Any:
    try:
        import pandas as pd
        import pyarrow  # noqa: F401 - pandas would look for it later, and say less
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"writing Parquet needs {error.name}: pip install 'atdata[parquet]'", name=error.name
        ) from error
    return pd
