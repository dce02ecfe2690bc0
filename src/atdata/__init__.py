"""atdata: publish WebDataset datasets on ATProto and read them back, typed, verified and fast.

The public names. Those that read, write or need the network are loaded on first use, so that a program does not pay
for what it leaves alone (``docs/adr/0004-lazy-names.md``).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from atdata._version import __version__
from atdata.data.fields import Extension
from atdata.dataset import Dataset, PackableSample, SampleBatch, packable
from atdata.errors import (
    AtdataError,
    AuthenticationError,
    IntegrityError,
    InvalidRecordError,
    InvalidSyntaxError,
    LimitError,
    NotFoundError,
    RefusedError,
    SchemaMismatchError,
    ShardError,
    UnavailableError,
    UnsupportedStorageError,
    XrpcError,
)
from atdata.lens import Lens, LensNetwork, lens
from atdata.storage.base import Shard

if TYPE_CHECKING:
    from atdata.atproto.client import Client
    from atdata.data.batches import Batch
    from atdata.data.writer import ShardWriter, WrittenShard, write_samples
    from atdata.loading.loader import DatasetLoader, load
    from atdata.mixing import mix
    from atdata.publishing.publisher import DatasetPublisher

__all__ = [
    "AtdataError",
    "AuthenticationError",
    "Batch",
    "Client",
    "Dataset",
    "DatasetLoader",
    "DatasetPublisher",
    "Extension",
    "IntegrityError",
    "InvalidRecordError",
    "InvalidSyntaxError",
    "Lens",
    "LensNetwork",
    "LimitError",
    "NotFoundError",
    "PackableSample",
    "RefusedError",
    "SampleBatch",
    "SchemaMismatchError",
    "Shard",
    "ShardError",
    "ShardWriter",
    "UnavailableError",
    "UnsupportedStorageError",
    "WrittenShard",
    "XrpcError",
    "__version__",
    "lens",
    "load",
    "mix",
    "packable",
    "write_samples",
]

_LAZY = {
    "Batch": "atdata.data.batches",
    "Client": "atdata.atproto.client",
    "DatasetLoader": "atdata.loading.loader",
    "DatasetPublisher": "atdata.publishing.publisher",
    "ShardWriter": "atdata.data.writer",
    "WrittenShard": "atdata.data.writer",
    "load": "atdata.loading.loader",
    "mix": "atdata.mixing",
    "write_samples": "atdata.data.writer",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'atdata' has no attribute {name!r}")
    value = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
