"""DID documents from strangers: what is read, and what counts as absent."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atdata.atproto.did_document import is_service_url, read_document
from atdata.syntax import Did

DID = Did("did:plc:ewvi7nxzyoun6zhxrhs64oiz")
# One key in both encodings, from the examples at https://atproto.com/specs/did and .../cryptography.
LEGACY = "zQYEBzXeuTM9UR3rfvNag6L3RNAs5pQZyYPsomTsgQhsxLdEgCrPTLgFna8yqCnxPpNT7DBk6Ym3dgPKNu86vt9GR"
MULTIKEY = "zQ3shXjHeiBuRCKmM36cuYnm7YEMzhGnCmCyW92sRJ9pribSF"


def document(**changes: Any) -> dict[str, Any]:
    """A document as the PLC directory writes it."""
    return {
        "id": DID,
        "alsoKnownAs": ["at://alice.example.com"],
        "verificationMethod": [
            {"id": f"{DID}#atproto", "type": "Multikey", "controller": DID, "publicKeyMultibase": MULTIKEY}
        ],
        "service": [
            {"id": "#other", "type": "Other", "serviceEndpoint": "https://other.example.com"},
            {
                "id": "#atproto_pds",
                "type": "AtprotoPersonalDataServer",
                "serviceEndpoint": "https://pds.example.com/",
            },
        ],
        **changes,
    }


def test_everything_is_read() -> None:
    """Handle, PDS without its slash, and signing key."""
    read = read_document(DID, document())

    assert (read.did, read.handle, read.pds) == (DID, "alice.example.com", "https://pds.example.com")
    assert read.signing_key == f"did:key:{MULTIKEY}"


def test_legacy_keys_become_did_keys() -> None:
    """The older encoding, an uncompressed point without its codec, gives the same did:key."""
    legacy = {"id": "#atproto", "type": "EcdsaSecp256k1VerificationKey2019", "publicKeyMultibase": LEGACY}

    assert read_document(DID, document(verificationMethod=[legacy])).signing_key == f"did:key:{MULTIKEY}"


@pytest.mark.parametrize(
    "names",
    [[], ["https://alice.example.com"], ["at://not a handle"], ["at://alice"], [7, None], "at://a.example", None],
)
def test_no_usable_handle_is_none(names: object) -> None:
    """Other URIs and malformed handles are not taken for one."""
    assert read_document(DID, document(alsoKnownAs=names)).handle is None


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://pds.example.com",
        "https://user:password@pds.example.com",
        "https://pds.example.com/path",
        "https://pds.example.com?query",
        "https://",
        "https://pds.example.com:port",
        "ftp://pds.example.com",
        "file:///etc/passwd",
        "pds.example.com",
        {"origin": "https://pds.example.com"},
        None,
    ],
)
def test_no_usable_pds_is_none(endpoint: object) -> None:
    """Plain http, userinfo, paths and other schemes make no PDS."""
    service = {"id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": endpoint}

    assert read_document(DID, document(service=[service])).pds is None


def test_http_is_for_private_networks() -> None:
    """Where it is allowed, a PDS may be at a plain http address, with its port."""
    assert is_service_url("http://localhost:2583", allow_http=True)
    assert not is_service_url("http://localhost:2583")


@pytest.mark.parametrize(
    "method", [{}, {"type": "Multikey"}, {"type": "Odd"}, {"publicKeyMultibase": "!"}, "text", None]
)
def test_no_usable_key_is_none(method: Any) -> None:
    """An unknown kind of key, or none."""
    if isinstance(method, dict):
        method = {"id": "#atproto", "type": "Odd", "publicKeyMultibase": MULTIKEY} | method
        if method["type"] == "Multikey":
            method["publicKeyMultibase"] = "uAAAA"
    assert read_document(DID, document(verificationMethod=[method])).signing_key is None


TEXT = st.text(max_size=5) | st.sampled_from(["at://", "#atproto_pds", "#atproto", MULTIKEY])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "type"]), inner, max_size=2),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["alsoKnownAs", "service", "verificationMethod"]), JSON))
def test_no_document_makes_reading_fail(value: dict[str, Any]) -> None:
    """Whatever a stranger writes, the worst is a document of nothing."""
    assert read_document(DID, value).did == DID
