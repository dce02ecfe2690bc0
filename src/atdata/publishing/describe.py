"""What a caller says about a dataset, and how it is to be published: two values, with the defaults of both."""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from atdata.publishing.inputs import Given, Splits, read_splits
from atdata.publishing.patience import PATIENCE, silent
from atdata.publishing.shards import Progress, no_progress
from atdata.publishing.upload import UPLOADS
from atdata.storage.base import Shard
from atdata.syntax import family

_GENERATED_DOCSTRING = re.compile(r"\w+\(.*\)( -> None)?", re.DOTALL)  # what `dataclass` writes where there is none


@dataclass(frozen=True, slots=True)
class Description:
    """What people read about a dataset. `DatasetPublisher.publish_dataset` says what each field means."""

    name: str | None = None
    description: str | None = None
    license: str | None = None
    tags: str | Sequence[str] = ()
    splits: Splits | None = None
    version: str | None = None
    previous: str | None = None
    citation: str | None = None
    homepage: str | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """How a dataset is published. `DatasetPublisher.publish_dataset` says what each field means."""

    urls: str | Sequence[str] | None = None
    to: str | None = None
    storage: Literal["auto", "url", "blobs"] = "auto"
    sample_type: type | None = None
    infer_schema: bool = True
    shards: Sequence[Shard] | None = None
    scan: bool = False
    rkey: str | None = None
    allow_secret_urls: bool = False
    reshard: bool = True
    force: bool = False
    uploads: int = UPLOADS
    patience: float = PATIENCE
    progress: Progress = no_progress
    announce: Callable[[str], None] = silent


def command_of(did: str, given: Given, description: Description, options: Options) -> Mapping[str, Any]:
    """What makes one publish the same as another: all that the record depends on, and nothing else."""
    sample_type = given.sample_type
    return {
        "repository": did,
        "family": family(),
        "shards": list(given.places or given.urls),
        "name": description.name,
        "description": description.description,
        "license": description.license,
        "tags": [description.tags] if isinstance(description.tags, str) else list(description.tags),
        "splits": [[split.name, split.start, split.end] for split in read_splits(description.splits)],
        "version": description.version,
        "previous": description.previous,
        "citation": description.citation,
        "homepage": description.homepage,
        "urls": [options.urls] if isinstance(options.urls, str) else list(options.urls or ()),
        "storage": options.storage,
        "sampleType": f"{sample_type.__module__}.{sample_type.__qualname__}" if sample_type else None,
        "inferSchema": options.infer_schema,
        "scan": options.scan,
        "rkey": options.rkey,
    }


def summary(sample_type: type) -> str | None:
    """The first paragraph of a class's docstring, unless `dataclass` wrote it."""
    paragraph = inspect.cleandoc(sample_type.__doc__ or "").partition("\n\n")[0]
    return None if _GENERATED_DOCSTRING.fullmatch(paragraph) else paragraph or None
