"""The names of ATProto: DID, handle, NSID, TID, record key, AT-URI, CID. Parse and print, no I/O.

Each ``parse_`` function is the edge: what it returns is valid, and nobody checks again. Resolving a name is
`atdata.atproto.identity`.

Sources: https://atproto.com/specs/did, .../handle, .../nsid, .../tid, .../record-key, .../at-uri-scheme and
https://github.com/multiformats/cid.
"""

import os
import re
import secrets
import threading
import time
from dataclasses import dataclass
from typing import NewType

import libipld

from atdata.errors import InvalidSyntaxError

Did = NewType("Did", str)
Handle = NewType("Handle", str)
Nsid = NewType("Nsid", str)
Tid = NewType("Tid", str)
RecordKey = NewType("RecordKey", str)

RAW = 0x55  # multicodec table, "raw"
DAG_PB = 0x70  # multicodec table, "dag-pb"
DAG_CBOR = 0x71  # multicodec table, "dag-cbor"
SHA2_256 = 0x12  # multihash table, "sha2-256"

_DID = re.compile(r"did:[a-z]+:[A-Za-z0-9._:%-]*[A-Za-z0-9._-]")
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_NSID_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]{0,62}")
_TID = re.compile(r"[234567abcdefghij][234567abcdefghijklmnopqrstuvwxyz]{12}")
_RECORD_KEY = re.compile(r"[A-Za-z0-9_~.:-]{1,512}")
_TID_ALPHABET = "234567abcdefghijklmnopqrstuvwxyz"
_SHOWN = 80  # characters of a wrong value that a message repeats


def family() -> Nsid:
    """The family of our records: ``ATDATA_NSID`` in the environment, else ``app.bsky.atdata``.

    Raises:
        InvalidSyntaxError: ``ATDATA_NSID`` is not an NSID.
    """
    return parse_nsid(os.environ.get("ATDATA_NSID", "app.bsky.atdata"))


def _wrong(what: str, raw: str, why: str) -> InvalidSyntaxError:
    shown = repr(raw if len(raw) <= _SHOWN else raw[:_SHOWN] + "…")
    return InvalidSyntaxError(f"{shown} is not a valid {what}: {why}", value=raw)


def parse_did(raw: str) -> Did:
    """Check a DID's syntax, as in ``did:plc:ewvi7nxzyoun6zhxrhs64oiz``.

    Raises:
        InvalidSyntaxError: It is none; the message says why.
    """
    if not raw.startswith("did:"):
        raise _wrong("DID", raw, "it must start with 'did:'")
    if len(raw) > 2048:
        raise _wrong("DID", raw, f"it has {len(raw):,} characters, at most 2,048 are allowed")
    if not _DID.fullmatch(raw):
        raise _wrong("DID", raw, "the form is did:METHOD:IDENTIFIER, of ASCII letters, digits and . _ : % -")
    return Did(raw)


def parse_handle(raw: str) -> Handle:
    """Check a handle's syntax and put it into lower case. A leading ``@`` is dropped, as people write it.

    Raises:
        InvalidSyntaxError: It is none; the message says why.
    """
    handle = raw.removeprefix("@")
    if not handle.isascii():
        raise _wrong("handle", raw, "only ASCII letters, digits, '-' and '.' are allowed")
    if len(handle) > 253:
        raise _wrong("handle", raw, f"it has {len(handle):,} characters, at most 253 are allowed")
    labels = handle.split(".")
    if len(labels) < 2:
        raise _wrong("handle", raw, "it must be a domain name with a dot, as in alice.example.com")
    for label in labels:
        if not _LABEL.fullmatch(label):
            raise _wrong("handle", raw, f"the part {label[:_SHOWN]!r} is not a label of a domain name")
    if not labels[-1][0].isalpha():
        raise _wrong("handle", raw, "the last part must begin with a letter")
    return Handle(handle.lower())


def parse_nsid(raw: str) -> Nsid:
    """Check an NSID's syntax, as in ``app.bsky.atdata.dataset``.

    Raises:
        InvalidSyntaxError: It is none; the message says why.
    """
    if len(raw) > 317:
        raise _wrong("NSID", raw, f"it has {len(raw):,} characters, at most 317 are allowed")
    parts = raw.split(".")
    if len(parts) < 3:
        raise _wrong("NSID", raw, "it needs three parts or more, as in com.example.thing")
    for part in parts[:-1]:
        if not _LABEL.fullmatch(part):
            raise _wrong("NSID", raw, f"the part {part[:_SHOWN]!r} is not a label of a domain name")
    if not parts[0][0].isalpha():
        raise _wrong("NSID", raw, "the first part must begin with a letter")
    if not _NSID_NAME.fullmatch(parts[-1]):
        raise _wrong("NSID", raw, f"the name {parts[-1][:_SHOWN]!r} must be letters and digits and begin with a letter")
    return Nsid(raw)


def parse_tid(raw: str) -> Tid:
    """Check a TID's syntax: 13 characters of base32-sortable.

    Raises:
        InvalidSyntaxError: It is none.
    """
    if not _TID.fullmatch(raw):
        raise _wrong("TID", raw, "it must be 13 characters of 2-7 and a-z, the first of 2-7 and a-j")
    return Tid(raw)


def parse_record_key(raw: str) -> RecordKey:
    """Check a record key's syntax.

    Raises:
        InvalidSyntaxError: It is none; the message says why.
    """
    if raw in (".", ".."):
        raise _wrong("record key", raw, "'.' and '..' are not allowed")
    if not _RECORD_KEY.fullmatch(raw):
        raise _wrong("record key", raw, "it must be 1 to 512 characters of A-Z a-z 0-9 . _ : ~ -")
    return RecordKey(raw)


_last_tid = 0
_tid_lock = threading.Lock()
_clock_id = secrets.randbelow(1024)


def new_tid() -> Tid:
    """A fresh TID: microseconds since 1970 and a clock identifier, greater than any other of this process."""
    global _last_tid  # the specification asks for monotonic identifiers, whatever the clock does
    with _tid_lock:
        _last_tid = micros = max(time.time_ns() // 1000, _last_tid + 1)
    number = (micros << 10) | _clock_id
    return Tid("".join(_TID_ALPHABET[(number >> shift) & 31] for shift in range(60, -1, -5)))


@dataclass(frozen=True, slots=True)
class Cid:
    """A content identifier.

    Attributes:
        version: 0 or 1.
        codec: Multicodec of the content, such as `RAW` or `DAG_CBOR`.
        hash_code: Multihash code, such as `SHA2_256`.
        digest: The hash itself.
    """

    version: int
    codec: int
    hash_code: int
    digest: bytes

    def __bytes__(self) -> bytes:
        if self.is_raw_sha256:
            return _RAW_SHA256 + self.digest
        multihash = _varint(self.hash_code) + _varint(len(self.digest)) + self.digest
        return multihash if self.version == 0 else _varint(1) + _varint(self.codec) + multihash

    def __str__(self) -> str:
        return str(libipld.encode_cid(bytes(self)))

    @property
    def is_raw_sha256(self) -> bool:
        """True for the one form that a shard, an index and a blob have: CIDv1, raw, sha-256."""
        return self.version == 1 and self.codec == RAW and self.hash_code == SHA2_256 and len(self.digest) == 32


_RAW_SHA256 = bytes([1, RAW, SHA2_256, 32])  # how the binary form of such a CID begins


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def parse_cid(raw: str) -> Cid:
    """Read a CID, version 0 or 1, in base32 or base58.

    Raises:
        InvalidSyntaxError: It is none; the message says why.
    """
    if raw.startswith("bafkrei") and len(raw) == 59:  # the form of shards and blobs, of which there may be very many
        try:
            data = libipld.decode_multibase(raw)[1]
        except ValueError:
            data = b""  # what is wrong with it is said below
        if data[:4] == _RAW_SHA256 and len(data) == 36:
            return Cid(1, RAW, SHA2_256, data[4:])
    if not 8 <= len(raw) <= 256 or not raw.isascii() or not raw.isalnum():
        raise _wrong("CID", raw, "it must be 8 to 256 ASCII letters and digits")
    try:
        parts = libipld.decode_cid(raw)
    except ValueError as error:
        raise _wrong("CID", raw, str(error)) from error
    digest = parts["hash"]["digest"]
    cid = Cid(parts["version"], parts["codec"], parts["hash"]["code"], bytes(digest))
    if cid.hash_code == SHA2_256 and len(cid.digest) != 32:
        raise _wrong("CID", raw, f"a sha-256 digest has 32 bytes, this one {len(cid.digest)}")
    return cid


def raw_cid(sha256: bytes) -> Cid:
    """The CID of bytes with this sha-256, as a PDS gives it to a blob: CIDv1, raw."""
    return Cid(1, RAW, SHA2_256, sha256)


@dataclass(frozen=True, slots=True)
class AtUri:
    """A place in a repository: ``at://AUTHORITY/COLLECTION/RKEY#FRAGMENT``.

    Attributes:
        authority: DID or handle of the repository.
        collection: NSID of the record's type, if any.
        rkey: Record key, if any.
        fragment: A JSON pointer into the record, with its leading slash, if any.
    """

    authority: Did | Handle
    collection: Nsid | None = None
    rkey: RecordKey | None = None
    fragment: str | None = None

    def __str__(self) -> str:
        path = "".join(f"/{part}" for part in (self.collection, self.rkey) if part is not None)
        return f"at://{self.authority}{path}" + (f"#{self.fragment}" if self.fragment is not None else "")


def parse_at_uri(raw: str, *, handle_domain: str | None = None) -> AtUri:
    """Read an AT-URI, also in the short forms that people type.

    A collection of one word is completed with our family (``dataset`` is ``app.bsky.atdata.dataset``), an authority
    of one label with ``handle_domain``, where one is given.

    Raises:
        InvalidSyntaxError: It is none; the message says which part is wrong.
    """
    if not raw.startswith("at://"):
        raise _wrong("AT-URI", raw, "it must start with 'at://'")
    if len(raw) > 8192:
        raise _wrong("AT-URI", raw, f"it has {len(raw):,} characters, at most 8,192 are allowed")
    body, mark, fragment = raw[5:].partition("#")
    if mark and not re.fullmatch(r"/[A-Za-z0-9._~:@!$&')(*+,;=%\[\]/-]*", fragment):
        raise _wrong("AT-URI", raw, "the fragment must be a JSON pointer that begins with '/'")
    parts = body.split("/")
    if len(parts) > 3 or "" in parts:
        raise _wrong("AT-URI", raw, "the form is at://AUTHORITY/COLLECTION/RKEY")
    try:
        authority = _parse_authority(parts[0], handle_domain)
        collection = rkey = None
        if len(parts) > 1:
            collection = parse_nsid(parts[1] if "." in parts[1] else f"{family()}.{parts[1]}")
        if len(parts) > 2:
            rkey = parse_record_key(parts[2])
    except InvalidSyntaxError as error:
        raise _wrong("AT-URI", raw, str(error)) from error
    return AtUri(authority, collection, rkey, fragment if mark else None)


def _parse_authority(raw: str, handle_domain: str | None) -> Did | Handle:
    if raw.startswith("did:"):
        return parse_did(raw)
    if "." not in raw and handle_domain:
        return parse_handle(f"{raw}.{handle_domain.strip('.')}")
    return parse_handle(raw)
