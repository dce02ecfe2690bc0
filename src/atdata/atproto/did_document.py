"""DID documents: what one says about an account, read from JSON. No I/O.

Fetching a document is `atdata.atproto.identity`. The documents come from strangers: whatever part of one is not usable
counts as absent.

Sources: https://atproto.com/specs/did#did-documents, https://atproto.com/specs/cryptography#public-key-encoding
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import libipld

from atdata.errors import InvalidSyntaxError
from atdata.syntax import Did, Handle, parse_handle

_SECP256K1 = b"\xe7\x01"  # multicodec table, "secp256k1-pub", as a varint
_P256 = b"\x80\x24"  # multicodec table, "p256-pub", as a varint
_LEGACY_KEYS = {"EcdsaSecp256k1VerificationKey2019": _SECP256K1, "EcdsaSecp256r1VerificationKey2019": _P256}


@dataclass(frozen=True, slots=True)
class DidDocument:
    """The parts of a DID document that ATProto uses.

    Attributes:
        did: Whose document it is.
        handle: The handle that it claims, which may be another's.
        pds: Base URL of the PDS, as ``https://pds.example.com``; None where none is named.
        signing_key: The key that signs the repository, as a ``did:key``; None where none is named.
    """

    did: Did
    handle: Handle | None
    pds: str | None
    signing_key: str | None


def read_document(did: Did, value: Mapping[str, Any], *, allow_http: bool = False) -> DidDocument:
    """Read the document of ``did``.

    Args:
        allow_http: Take a PDS at a plain ``http`` address too.
    """
    pds = next((url for url in _endpoints(did, value) if is_service_url(url, allow_http=allow_http)), None)
    return DidDocument(did, _handle(value), pds and pds.rstrip("/"), _signing_key(did, value))


def is_service_url(url: str, *, allow_http: bool = False) -> bool:
    """True for the base URL of a server: ``https``, a host, perhaps a port, and nothing else."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # a property, which raises for a port that is none
    except ValueError:
        return False
    schemes = ("https", "http") if allow_http else ("https",)
    bare = f"{parts.scheme}://{parts.netloc}"
    return parts.scheme in schemes and bool(parts.hostname) and "@" not in bare and url.removesuffix("/") == bare


def _items(value: Mapping[str, Any], key: str) -> Iterator[Any]:
    items = value.get(key)
    yield from items if isinstance(items, list) else ()


def _named(did: Did, item: Any, fragment: str) -> bool:
    return isinstance(item, Mapping) and item.get("id") in (f"#{fragment}", f"{did}#{fragment}")


def _handle(value: Mapping[str, Any]) -> Handle | None:
    for name in _items(value, "alsoKnownAs"):
        if isinstance(name, str) and name.startswith("at://"):
            try:
                return parse_handle(name.removeprefix("at://"))
            except InvalidSyntaxError:
                return None  # the first one counts, as the specification says
    return None


def _endpoints(did: Did, value: Mapping[str, Any]) -> Iterator[str]:
    for service in _items(value, "service"):
        if _named(did, service, "atproto_pds") and service.get("type") == "AtprotoPersonalDataServer":
            endpoint = service.get("serviceEndpoint")
            if isinstance(endpoint, str):
                yield endpoint


def _signing_key(did: Did, value: Mapping[str, Any]) -> str | None:
    for method in _items(value, "verificationMethod"):
        if _named(did, method, "atproto") and isinstance(encoded := method.get("publicKeyMultibase"), str):
            try:
                base, key = libipld.decode_multibase(encoded)
            except ValueError:
                return None
            if base != "z":
                return None
            if (kind := method.get("type")) in _LEGACY_KEYS:
                key = _LEGACY_KEYS[kind] + _compressed(key)
            elif kind != "Multikey":
                return None
            return f"did:key:{libipld.encode_multibase('z', key)}"
    return None


def _compressed(point: bytes) -> bytes:
    """A point of an elliptic curve in its form of 33 bytes (SEC 1, section 2.3.3)."""
    if len(point) == 65 and point[0] == 4:
        return bytes([2 + point[64] % 2]) + point[1:33]
    return point
