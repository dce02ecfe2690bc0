"""Every shard against the record."""

import dataclasses
import gzip
from pathlib import Path

import pytest
from tests.local_client import digits, record_at
from tests.storage.faults import Answer, serving

from atdata.atproto.client import Client
from atdata.data.writer import WrittenShard, write_samples
from atdata.errors import NotFoundError
from atdata.loading.loader import DatasetLoader
from atdata.loading.shards import RecordShards, find_shards
from atdata.loading.verify import ShardCheck, State, verify
from atdata.publishing.publisher import DatasetPublisher
from atdata.storage.base import Shard
from atdata.storage.union import UrlStorage
from atdata.syntax import parse_at_uri, raw_cid
from atdata.testing import MemoryStore


def states(client: Client, uri: str) -> list[State]:
    """What is found of each shard."""
    return [check.state for check in DatasetLoader(client).verify(uri)]


@pytest.mark.parametrize("storage", ["blobs", "url"])
def test_a_whole_dataset(client: Client, publisher: DatasetPublisher, pattern: str, storage: str) -> None:
    """Each shard is found to be what the record says; progress ends at the last byte."""
    told: list[tuple[str, int, int]] = []
    uri = publisher.publish_dataset(pattern, name="Digits", storage=storage)  # type: ignore[arg-type]  # one of them
    facts = record_at(client, uri).shards

    checks = list(DatasetLoader(client).verify(uri, progress=lambda *what: told.append(what)))

    assert [(check.number, check.state, check.why) for check in checks] == [(i, State.OK, "") for i in range(4)]
    assert [check.found for check in checks] == list(facts or ())
    total = sum(fact.bytes or 0 for fact in facts or ())
    assert {(step, whole) for step, _, whole in told} == {("verifying", total)}
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)


def test_what_changed_on_the_disk_is_found(
    client: Client, publisher: DatasetPublisher, shards: list[WrittenShard], pattern: str
) -> None:
    """A byte, a missing end, a missing file; the others are what they were."""
    uri = publisher.publish_dataset(pattern, name="Digits", storage="url")
    content = shards[0].path.read_bytes()
    shards[0].path.write_bytes(content[:600] + b"!" + content[601:])
    shards[1].path.write_bytes(shards[1].path.read_bytes()[:-4096])
    shards[2].path.unlink()

    checks = list(DatasetLoader(client).verify(uri))

    assert [check.state for check in checks] == [State.WRONG, State.WRONG, State.MISSING, State.OK]
    assert [check.is_bad for check in checks] == [True, True, True, False]
    assert "block 0 of the tar has another digest" in checks[0].why
    assert "cut short" in checks[1].why


def test_what_changed_in_the_repository_is_found(client: Client, publisher: DatasetPublisher, pattern: str) -> None:
    """A blob whose file was damaged."""
    uri = publisher.publish_dataset(pattern, name="Digits", storage="blobs")
    blobs = sorted((Path(client.repository.folder) / "blobs").iterdir())  # type: ignore[union-attr]  # a local one
    damaged = max(blobs, key=lambda path: path.stat().st_size)
    content = damaged.read_bytes()
    damaged.chmod(0o600)
    damaged.write_bytes(content[:700] + b"!" + content[701:])

    assert sorted(states(client, uri)).count(State.WRONG) == 1


def test_without_digests_it_says_so(client: Client, publisher: DatasetPublisher, pattern: str) -> None:
    """A record by URL that nobody has scanned: what can be read is read, and counted."""
    with serving({"/a.tar": [Answer(body=Path(pattern.replace("{000000..000003}", "000000")).read_bytes())]}) as server:
        uri = publisher.publish_dataset([server.url("/a.tar"), server.url("/b.tar")], name="Digits")

        good, bad = DatasetLoader(client).verify(uri)

    assert (good.state, good.is_bad) == (State.NO_DIGEST, False)
    assert good.why == "the record has no digest of it: it was only read and counted"
    assert good.found is not None
    assert good.found.samples == 3
    assert (bad.state, bad.is_bad) == (State.MISSING, True)


def test_a_server_that_fails_is_no_wrong_shard(client: Client, publisher: DatasetPublisher) -> None:
    """A place that refuses is told from a shard that is another one."""
    with serving({"/a.tar": [Answer(403)], "/b.tar": [Answer(body=b"<html>" + bytes(600))]}) as server:
        uri = publisher.publish_dataset([server.url("/a.tar"), server.url("/b.tar")], name="Digits")

        assert states(client, uri) == [State.UNREACHABLE, State.WRONG]


def in_memory(shard: WrittenShard, fact: Shard) -> ShardCheck:
    """A shard against any fact."""
    store = MemoryStore({"https://x/a.tar?token=secret": shard.path.read_bytes()})
    record = dataclasses.replace(_RECORD, store=store, facts=(fact,))
    (check,) = verify(record)
    return check


_RECORD = RecordShards(
    uri=parse_at_uri("at://did:web:localhost/app.bsky.atdata.dataset/a"),
    cid="",
    value={},
    record=None,  # type: ignore[arg-type]  # is not looked at
    storage=UrlStorage(("https://x/a.tar",)),
    store=MemoryStore(),
    paths=("https://x/a.tar?token=secret",),
    facts=None,
)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"bytes": 1}, "bytes: 5,120, and the record says 1"),
        ({"samples": 7}, "samples: 3, and the record says 7"),
        ({"cid": raw_cid(bytes(32))}, "CID bafkrei"),
        ({"index": raw_cid(bytes(32))}, "index bafkrei"),
    ],
    ids=str,
)
def test_every_fact_counts(shards: list[WrittenShard], change: dict[str, object], why: str) -> None:
    """A wrong one is named, with what was found; no secret of a URL is shown."""
    fact = dataclasses.replace(shards[0].shard, **change)  # type: ignore[arg-type]  # of the field

    check = in_memory(shards[0], fact)

    assert check.state is State.WRONG
    assert check.why.startswith(why)
    assert "secret" not in check.place
    assert in_memory(shards[0], shards[0].shard).state is State.OK


def test_a_shard_without_index_where_the_record_has_one(shards: list[WrittenShard]) -> None:
    """Says that there is none."""
    tar = shards[0].path.read_bytes()
    without = tar[: tar.index(b"__index__")] + bytes(1024)
    store = MemoryStore({_RECORD.paths[0]: without})

    (check,) = verify(dataclasses.replace(_RECORD, store=store, facts=(Shard(index=shards[0].shard.index),)))

    assert check.why.startswith("index none, and the record says bafkrei")


def test_compressed_shards(client: Client, publisher: DatasetPublisher, shards: list[WrittenShard]) -> None:
    """Digest and size are those of the file, samples those inside."""
    packed = shards[0].path.with_name("a.tar.gz")
    packed.write_bytes(gzip.compress(shards[0].path.read_bytes()))
    uri = publisher.publish_dataset([str(packed)], name="Digits", storage="url")

    (check,) = DatasetLoader(client).verify(uri)

    assert check.state is State.OK
    assert check.found is not None
    assert check.found.samples == 3


def test_no_record(client: Client) -> None:
    """Is told before anything is read."""
    with pytest.raises(NotFoundError):
        DatasetLoader(client).verify("at://did:web:localhost/app.bsky.atdata.dataset/none")


def test_many_shards_keep_their_order(client: Client, publisher: DatasetPublisher, tmp_path: Path) -> None:
    """Several at a time; given up early, nothing hangs."""
    write_samples(digits(40), tmp_path / "many-%06d.tar", shard_samples=1)
    uri = publisher.publish_dataset(str(tmp_path / "many-{000000..000039}.tar"), name="Many", storage="url")
    found = find_shards(client, parse_at_uri(uri))

    assert [check.number for check in verify(found, threads=8)] == list(range(40))
    assert next(iter(verify(found))).number == 0
