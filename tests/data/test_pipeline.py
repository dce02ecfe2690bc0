"""Laws of `atdata.data.pipeline`. What existing code expects of pipelines is `tests/test_compat_dataset.py`.

With torch installed, its DataLoader is tested for real; without it, that test is skipped aloud.
"""

import pickle
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from atdata.data.pipeline import Pipeline
from atdata.data.writer import write_samples
from atdata.dataset import Dataset


@dataclass
class Number:
    number: int


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset[Number]:
    write_samples(map(Number, range(20)), str(tmp_path / "numbers-%d.tar"), shard_samples=4)
    return Dataset[Number](f"{tmp_path}/numbers-{{0..4}}.tar")


def test_each_iteration_begins_anew(dataset: Dataset[Number]) -> None:
    """Two iterations over one pipeline do not know of each other."""
    pipeline = dataset.ordered(None)
    first, second = iter(pipeline), iter(pipeline)

    assert [next(source).number for source in (first, first, second, first)] == [0, 1, 0, 2]


def test_a_pipeline_is_a_pipeline(dataset: Dataset[Number]) -> None:
    """To ``isinstance``, to ``type``, and after pickle."""
    pipeline = pickle.loads(pickle.dumps(dataset.ordered(None)))

    assert isinstance(pipeline, Pipeline)
    assert type(pipeline) is pipeline.__class__ is Pipeline
    assert [sample.number for sample in pipeline] == list(range(20))
    with pytest.raises(TypeError):
        pipeline.__class__ = int


def test_torch_is_not_loaded() -> None:
    """Neither importing atdata nor making a pipeline loads torch."""
    source = (
        "import sys; from atdata.dataset import Dataset; list(Dataset(sys.argv[1]).ordered(None));"
        "assert not any(name.split('.')[0] == 'torch' for name in sys.modules)"
    )
    fixture = Path(__file__).parents[1] / "fixtures" / "v013" / "basic.tar"

    subprocess.run([sys.executable, "-c", source, str(fixture)], check=True)


@pytest.mark.filterwarnings("ignore")  # torch's own
def test_a_pipeline_is_an_iterable_dataset_once_torch_is_loaded(dataset: Dataset[Number]) -> None:
    """Also one that was made before; in a DataLoader its workers share the shards, forked or spawned."""
    before = dataset.ordered(batch_size=None)
    data = pytest.importorskip("torch.utils.data", reason="torch is not installed")

    assert isinstance(before, data.IterableDataset)
    assert isinstance(dataset.shuffled(), data.IterableDataset)
    assert not isinstance(dataset, data.IterableDataset)
    for how in (None, "fork", "spawn"):
        workers = 0 if how is None else 2
        loader = data.DataLoader(before, batch_size=None, num_workers=workers, multiprocessing_context=how)
        for _ in range(2):
            assert sorted(sample.number for sample in loader) == list(range(20))
    batches = data.DataLoader(dataset.shuffled(batch_size=3), batch_size=None, num_workers=2)
    assert sorted(number for batch in batches for number in batch.number) == list(range(20))
