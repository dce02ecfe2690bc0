"""Files on IPFS: the contract of stores on a real gateway, folders, inline blocks, and what is never reached."""

import hashlib
import pickle
from random import Random

import pytest
from tests.ipfs.plugin import IpfsGateway
from tests.storage.faults import Answer, serving
from tests.storage.ipfs_blocks import Blocks, folder, node
from tests.storage.lying_gateway import RAW_FAULTS, gateway

from atdata.errors import (
    IntegrityError,
    InvalidSyntaxError,
    NotFoundError,
    UnavailableError,
    UnsupportedStorageError,
)
from atdata.net import Policy, Transport
from atdata.storage.base import Store, chunks_of, read_all
from atdata.storage.block import BLAKE2B_256, IDENTITY, SHA2_512
from atdata.storage.ipfs import IpfsStore
from atdata.storage.places import UrlStore, record_place, typed_place
from atdata.storage.union import UrlStorage
from atdata.storage.unixfs import Kind
from atdata.storage.url import check_url, ipfs_path
from atdata.syntax import DAG_PB, RAW, Cid, raw_cid
from atdata.testing import CONTENT, StoreContract

MISSING = f"ipfs://{raw_cid(hashlib.sha256(b'nobody has this').digest())}"
QUICK = Policy(read_timeout=5, backoff=0.01, attempts=2)
EXAMPLE = "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWKPbdG"


def store(*bases: str) -> IpfsStore:
    return IpfsStore(Transport(QUICK), gateways=bases)


class TestIpfsStore(StoreContract):
    """On a real gateway (Helia): both versions of CIDs, balanced and trickle graphs, one block, names in folders."""

    @pytest.fixture
    def store(self, ipfs: IpfsGateway) -> Store:
        return store(ipfs.url)

    @pytest.fixture(params=["version 1", "version 0", "trickle", "one block", "folder", "sharded folder"])
    def path(self, request: pytest.FixtureRequest, ipfs: IpfsGateway) -> str:
        if request.param == "version 0":
            return f"ipfs://{ipfs.add(CONTENT, version=0, chunk=20_000, links=4)}"
        if request.param == "folder":
            return f"ipfs://{ipfs.add_folder({'a b/ü,%.tar': CONTENT, 'c': b''})}/a%20b/%C3%BC,%25.tar"
        if request.param == "sharded folder":
            names = {f"{i}.tar": str(i).encode() for i in range(300)}
            return f"ipfs://{ipfs.add_folder({**names, 'data.tar': CONTENT}, shard=1000)}/data.tar"
        layout = "trickle" if request.param == "trickle" else "balanced"
        chunk = 1 << 20 if request.param == "one block" else 20_000
        return f"ipfs://{ipfs.add(CONTENT, chunk=chunk, links=4, layout=layout)}"

    @pytest.fixture
    def missing(self) -> str:
        return MISSING


def test_large_files_come_as_streams(ipfs: IpfsGateway) -> None:
    """Of several levels, with repeated parts, from any place on; through a gateway that lies first as well."""
    content = Random(7).randbytes(2_500_000) + bytes(500_000) + Random(8).randbytes(500_000)
    for version in (0, 1):
        url = f"ipfs://{ipfs.add(content, version=version, chunk=64_000, links=10)}"
        for start, stop in ((0, None), (1_000_001, 3_100_000), (2_400_000, None)):
            with serving({"/": [Answer(500)]}) as broken:
                at = store(broken.url(""), ipfs.url)
                assert read_all(at, url, start=start, stop=stop, limit=len(content)) == content[start:stop]


@pytest.mark.parametrize("count", [3, 400])
def test_each_name_of_a_folder(ipfs: IpfsGateway, count: int) -> None:
    """Also of folders that are sharded, several levels deep; names that are not there are not found."""
    files = {f"shard-{i:06d}.tar": str(i).encode() for i in range(count)}
    root = ipfs.add_folder(files, shard=100)
    at = store(ipfs.url)

    for name, content in list(files.items())[:: max(1, count // 40)]:
        assert read_all(at, f"ipfs://{root}/{name}", limit=10) == content
    for name in ("shard-999999.tar", "x", "shard-000000.tar/x"):
        with pytest.raises(NotFoundError, match="no 'x'" if "x" in name else name):
            at.size(f"ipfs://{root}/{name}")


@pytest.mark.parametrize(
    ("code", "digest"),
    [
        (SHA2_512, hashlib.sha512(CONTENT).digest()),
        (BLAKE2B_256, hashlib.blake2b(CONTENT, digest_size=32).digest()),
    ],
)
def test_other_hashes_on_a_real_gateway(ipfs: IpfsGateway, code: int, digest: bytes) -> None:
    """Checked as sha-256 is."""
    cid = Cid(1, RAW, code, digest)
    ipfs.put(cid, CONTENT)

    assert read_all(store(ipfs.url), f"ipfs://{cid}", limit=len(CONTENT)) == CONTENT


def test_hashes_that_prove_nothing_are_refused_before_anything_is_asked() -> None:
    """sha-1, and digests that were shortened, in the URL or below it."""
    weak = Cid(1, RAW, 0x11, hashlib.sha1(b"x").digest())
    blocks = Blocks()
    root = blocks.put(node([(b"", weak)], sizes=[1], size=1), DAG_PB)
    with gateway(blocks) as server:
        with pytest.raises(UnsupportedStorageError, match="0x11"):
            store(server.base).open(f"ipfs://{weak}")
        assert server.asked == []
        with pytest.raises(UnsupportedStorageError, match="0x11"):
            read_all(store(server.base), f"ipfs://{root}", limit=10)
        assert server.singles == [str(root)]


def test_inline_blocks_are_read_from_their_cid() -> None:
    """No gateway is asked for them."""
    inline = Cid(1, RAW, IDENTITY, b"hello ")
    blocks = Blocks()
    leaf = blocks.put(b"world", RAW)
    root = blocks.put(node([(b"", inline), (b"", leaf)], sizes=[6, 5], size=11), DAG_PB)
    with gateway(blocks) as server:
        at = store(server.base)
        assert read_all(at, f"ipfs://{inline}", limit=10) == b"hello "
        assert server.asked == []
        assert read_all(at, f"ipfs://{root}", limit=20) == b"hello world"
        assert server.singles == [str(root), str(leaf)]


def test_what_is_no_file_says_what_it_is() -> None:
    """A folder, a symbolic link; and a file has no names below it."""
    blocks = Blocks()
    file = blocks.add(b"x" * 3000)
    link = blocks.put(node([], kind=Kind.SYMLINK, data=b"/etc/passwd"), DAG_PB)
    root = blocks.put(folder({b"file": file, b"link": link}), DAG_PB)
    with gateway(blocks) as server:
        at = store(server.base)
        assert at.size(f"ipfs://{root}/file") == 3000
        with pytest.raises(UnsupportedStorageError, match="directory"):
            at.open(f"ipfs://{root}")
        with pytest.raises(UnsupportedStorageError, match="symlink"):
            at.open(f"ipfs://{root}/link")
        with pytest.raises(NotFoundError, match="not a folder"):
            at.open(f"ipfs://{root}/file/x")
        with pytest.raises(NotFoundError, match="not a folder"):
            at.open(f"ipfs://{root}/link/x")


def test_graphs_that_contradict_themselves_are_nobodys_lie() -> None:
    """The blocks are what their CIDs say: asking others would not help, and nobody is asked."""
    blocks = Blocks()
    leaf = blocks.put(b"four", RAW)
    root = blocks.put(node([(b"", leaf)], sizes=[5], size=5), DAG_PB)
    with gateway(blocks) as one, gateway(blocks) as two:
        with pytest.raises(IntegrityError, match="its parent says 5"):
            read_all(store(one.base, two.base), f"ipfs://{root}", limit=10)
        assert two.asked == []


def test_folders_are_fetched_once() -> None:
    """The thousandth shard of a folder costs its own blocks alone."""
    blocks = Blocks()
    names = {f"{i}.tar".encode(): blocks.put(b"%d" % i, RAW) for i in range(20)}
    root = blocks.put(folder(names), DAG_PB)
    with gateway(blocks) as server:
        at = store(server.base)
        for i in range(20):
            assert read_all(at, f"ipfs://{root}/{i}.tar", limit=10) == b"%d" % i

        assert server.singles.count(str(root)) == 1
        assert len(server.asked) == 21


@pytest.mark.parametrize(
    "url",
    [
        "ipfs://",
        "ipfs://bafy",
        "ipfs:///a.tar",
        "ipfs://example.com/a.tar",
        f"ipfs://{EXAMPLE}:8080/a.tar",
        f"ipfs://{EXAMPLE.lower()}/a.tar",
        f"ipfs://{EXAMPLE}/a.tar?filename=x",
        f"ipfs://{EXAMPLE}/a.tar#x",
        f"ipfs://{EXAMPLE}/",
        f"ipfs://{EXAMPLE}/a//b",
        f"ipfs://{EXAMPLE}/../a",
        f"ipfs://{EXAMPLE}/%2e%2e/a",
        f"ipfs://{EXAMPLE}/a%2fb",
        "ipfs://bafyreigbtj4x7ip5legnfznufuopl4sg4knzc2cof6duas4b3q2fy6swua",
        "ipfs://k51qzi5uqu5dlvj2baxnqndepeb86cbk3ng7n3i46uzyxzyqj2xjonzllnv0v8",
    ],
)
def test_what_is_no_url_of_a_file(url: str) -> None:
    """Found when a record is written or opened and when a URL is typed, before anything is asked."""
    with pytest.raises(InvalidSyntaxError):
        ipfs_path(url)
    for own in (True, False):
        with pytest.raises(InvalidSyntaxError):
            check_url(url, own=own)
    with pytest.raises(InvalidSyntaxError):
        typed_place(url)


def test_braces_may_stand_in_the_cid() -> None:
    """Each that comes out is checked, and what stands behind the CID may have braces as ever."""
    other = str(raw_cid(bytes(32)))
    check_url(f"ipfs://{{{EXAMPLE},{other}}}/{{000..009}}.tar", own=False)
    with pytest.raises(InvalidSyntaxError):
        check_url(f"ipfs://{{{EXAMPLE},nothing}}/a.tar", own=False)

    _, paths = typed_place(f"ipfs://{EXAMPLE}/{{0..1}}.tar::ipfs://{other}")
    assert paths == [f"ipfs://{EXAMPLE}/0.tar", f"ipfs://{EXAMPLE}/1.tar", f"ipfs://{other}"]


@pytest.mark.parametrize("own", [True, False])
def test_records_name_content_and_the_machine_names_gateways(own: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stranger's record is read through a gateway on a private address, since the owner of the machine named that."""
    blocks = Blocks()
    root = blocks.add(b"content" * 1000)
    with gateway(blocks) as server:
        monkeypatch.setenv("ATDATA_IPFS_GATEWAYS", server.base)
        at, paths = record_place(UrlStorage((f"ipfs://{root}",)), own=own, transport=Transport(QUICK))

        assert read_all(at, paths[0], limit=7000) == b"content" * 1000
        assert read_all(pickle.loads(pickle.dumps(at)), paths[0], start=6993, limit=10) == b"content"


def test_gateways_open_no_other_private_address() -> None:
    """Where one redirects to is checked as ever, also where it is another gateway of ours."""
    with serving({}) as inner:
        routes = {f"/ipfs/{EXAMPLE}": [Answer(302, headers={"Location": inner.url("/secret")})]}
        with serving(routes) as outer, pytest.raises(UnavailableError, match="private-address"):
            store(outer.url(""), inner.url("")).size(f"ipfs://{EXAMPLE}")
        assert [asked.path for asked in inner.asked] == [f"/ipfs/{EXAMPLE}?format=raw"]


def test_a_local_node_that_is_not_there_is_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the others do not have is not found, although nobody answered on this machine."""
    with serving({}) as gone:
        absent = gone.url("")
    with gateway(Blocks()) as empty:
        monkeypatch.setattr("atdata.storage.gateways.KUBO", absent)
        monkeypatch.setattr("atdata.storage.gateways.PUBLIC", (empty.base,))
        monkeypatch.delenv("ATDATA_IPFS_GATEWAYS", raising=False)
        monkeypatch.setenv("IPFS_PATH", "/nonexistent")
        at = IpfsStore(Transport(Policy(allow_private=True, backoff=0.01, attempts=2)))

        with pytest.raises(NotFoundError):
            at.size(MISSING)
        assert len(empty.asked) == 1


def test_other_stores_are_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable for IPFS that is wrong is an error of ``ipfs://`` URLs alone."""
    monkeypatch.setenv("ATDATA_IPFS_GATEWAYS", "nonsense")
    with serving({"/a.tar": [Answer(body=b"a")]}) as server:
        at = UrlStore(own=True, transport=Transport(Policy(allow_private=True)))
        assert read_all(at, server.url("/a.tar"), limit=1) == b"a"
        with pytest.raises(InvalidSyntaxError, match="nonsense"):
            at.size(MISSING)


def test_memory_does_not_grow_with_the_file() -> None:
    """Blocks are handed out one by one: what is kept is bounded, whatever the range."""
    blocks = Blocks()
    content = Random(9).randbytes(3_000_000)
    root = blocks.add(content, chunk=100_000)
    with gateway(blocks, raw=RAW_FAULTS["500"]) as broken, gateway(blocks) as good:
        pieces = chunks_of(store(broken.base, good.base), f"ipfs://{root}", size=1 << 20)
        assert max(len(piece) for piece in pieces) <= 100_000
