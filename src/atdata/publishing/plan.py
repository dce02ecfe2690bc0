"""The plan of a publish: what would be read, uploaded and written, before anything is."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from atdata.atproto.rate_limit import said
from atdata.publishing.advice import wait_for


@dataclass(frozen=True, slots=True)
class Plan:
    """What publishing will do.

    Attributes:
        uri: AT-URI of the record; without a key of one's own another one each time, until something is uploaded.
        storage: ``url`` or ``blobs``.
        shards: Number of shards in the record; None where URLs do not say it.
        samples: Number of samples; None where nobody has read the shards.
        bytes: Bytes of all shards; None where nobody has asked.
        given_shards: Shards before the larger ones are cut; equal to ``shards`` where none is.
        blob_limit: Most bytes of one blob; None for storage by URL.
        uploads: Blobs that are still to be uploaded, manifest files among them.
        upload_bytes: Their bytes, without those of manifest files.
        uploaded: Blobs that an earlier run has uploaded, or that the previous version keeps there.
        schema_records: Schema records that will be written: 0 or 1.
        list_records: ``blobList`` records that the dataset needs.
    """

    uri: str
    storage: str
    shards: int | None
    samples: int | None
    bytes: int | None
    given_shards: int | None
    blob_limit: int | None = None
    uploads: int = 0
    upload_bytes: int = 0
    uploaded: int = 0
    schema_records: int = 0
    list_records: int = 0

    @property
    def records(self) -> int:
        """Records that will be written, the dataset's own among them."""
        return 1 + self.schema_records + self.list_records

    @property
    def wait(self) -> int:
        """Seconds of waiting under the usual rate limits of a PDS."""
        return wait_for(self.uploads, self.records)

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON, names in camel case."""
        value = {**dataclasses.asdict(self), "records": self.records, "wait": self.wait}
        return {_camel_case(name): item for name, item in value.items()}

    def lines(self) -> list[str]:
        """The plan in words."""
        lines = [f"record    {self.uri}", f"storage   {self.storage}"]
        facts = [(self.shards, "shards"), (self.samples, "samples"), (self.bytes, "bytes")]
        lines.append("contents  " + (", ".join(_counted(count, unit) for count, unit in facts if count is not None)))
        if self.blob_limit is not None:
            kept = (
                f"; {_counted(self.uploaded, 'blobs')} of an earlier run or version are there" if self.uploaded else ""
            )
            lines.append(f"uploads   {_counted(self.uploads, 'blobs')}, {_counted(self.upload_bytes, 'bytes')}{kept}")
            cut = f"; {_counted(self.given_shards, 'shards')} are cut into {self.shards:,}" if self.is_cut else ""
            lines.append(f"limit     {self.blob_limit:,} bytes for a blob{cut}")
        lines.append(
            f"records   {_counted(self.records, 'records')}: 1 dataset, {self.schema_records} schema, "
            f"{self.list_records} blobList"
        )
        lines.append(f"waits     {said(self.wait) if self.wait else 'none'} under the usual rate limits of a PDS")
        return lines

    @property
    def is_cut(self) -> bool:
        """Whether a shard is too large for a blob and will be cut."""
        return self.given_shards != self.shards


def _counted(count: int | None, unit: str) -> str:
    return f"{count or 0:,} {unit[:-1] if count == 1 else unit}"


def _camel_case(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(map(str.capitalize, rest))
