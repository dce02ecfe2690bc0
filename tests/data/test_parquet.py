"""Laws of `Dataset.to_parquet`: files as the release 0.2.0a1 wrote them."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from atdata.data.writer import ShardWriter, write_samples
from atdata.dataset import Dataset
from atdata.lens import Lens, LensNetwork


@dataclass
class Row:
    number: int
    name: str


@dataclass
class Doubled:
    doubled: int


def double(row: Row) -> Doubled:
    return Doubled(2 * row.number)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset[Row]:
    write_samples([Row(i, f"row {i}") for i in range(10)], str(tmp_path / "rows-%d.tar"), shard_samples=4)
    return Dataset[Row](f"{tmp_path}/rows-{{0..2}}.tar")


def test_all_fields_in_one_file(dataset: Dataset[Row], tmp_path: Path) -> None:
    """A row for each sample, a column for each field; the path may be text."""
    dataset.to_parquet(str(tmp_path / "rows.parquet"))

    frame = pd.read_parquet(tmp_path / "rows.parquet")
    assert frame.to_dict("list") == {"number": list(range(10)), "name": [f"row {i}" for i in range(10)]}


def test_a_map_makes_the_rows(dataset: Dataset[Row], tmp_path: Path) -> None:
    """``sample_map`` says what stands in a row."""
    dataset.to_parquet(tmp_path / "rows.parquet", sample_map=lambda row: {"square": row.number**2})

    assert pd.read_parquet(tmp_path / "rows.parquet").to_dict("list") == {"square": [i**2 for i in range(10)]}


@pytest.mark.parametrize(("maxcount", "sizes"), [(4, [4, 4, 2]), (5, [5, 5]), (100, [10])])
def test_segments_are_numbered(dataset: Dataset[Row], tmp_path: Path, maxcount: int, sizes: list[int]) -> None:
    """With ``maxcount``: ``{stem}-000000{suffix}`` and so on, in order, no empty one, and no file of the plain name."""
    folder = tmp_path / "out.d"
    folder.mkdir()

    dataset.to_parquet(folder / "rows.x.parquet", maxcount=maxcount)

    names = sorted(path.name for path in folder.iterdir())
    assert names == [f"rows.x-{i:06d}.parquet" for i in range(len(sizes))]
    frames = [pd.read_parquet(folder / name) for name in names]
    assert [len(frame) for frame in frames] == sizes
    assert pd.concat(frames)["number"].tolist() == list(range(10))


def test_options_reach_pandas(dataset: Dataset[Row], tmp_path: Path) -> None:
    """Other keywords are those of `pandas.DataFrame.to_parquet`."""
    import pyarrow.parquet

    dataset.to_parquet(tmp_path / "rows.parquet", compression="gzip")

    metadata = pyarrow.parquet.read_metadata(tmp_path / "rows.parquet")
    assert metadata.row_group(0).column(0).compression == "GZIP"


def test_views_and_untyped_samples(dataset: Dataset[Row], tmp_path: Path) -> None:
    """A view's fields are written for a view; an untyped sample's members for a dict."""
    LensNetwork().register(Lens(double))
    dataset.as_type(Doubled).to_parquet(tmp_path / "view.parquet")
    with ShardWriter(tmp_path / "plain.tar") as writer:
        writer.write({"txt": "hello", "cls": 3}, key="first")
    Dataset[dict[str, Any]](str(tmp_path / "plain.tar")).to_parquet(tmp_path / "plain.parquet")

    assert pd.read_parquet(tmp_path / "view.parquet")["doubled"].tolist() == [2 * i for i in range(10)]
    assert pd.read_parquet(tmp_path / "plain.parquet").to_dict("records") == [
        {"__key__": "first", "txt": "hello", "cls": 3}
    ]


@pytest.mark.parametrize("missing", ["pandas", "pyarrow"])
def test_the_extra_is_named(
    dataset: Dataset[Row], tmp_path: Path, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where pandas or pyarrow is not installed, the error says what to install, and no file is made."""
    monkeypatch.setitem(sys.modules, missing, None)

    with pytest.raises(ModuleNotFoundError, match=rf"{missing}.*atdata\[parquet\]"):
        dataset.to_parquet(tmp_path / "rows.parquet")
    assert not (tmp_path / "rows.parquet").exists()
