"""An account under ``did:web`` on a real PDS: its document lies on a web server of its own."""

import base64
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tests.atproto.repository_contract import COLLECTION, thing
from tests.atproto.scripted_server import ScriptedServer
from tests.network.keys import multikey, new_key, sign
from tests.network.plugin import PASSWORD, Network, get, post

from atdata.atproto.client import Client
from atdata.storage.base import read_all
from atdata.syntax import parse_at_uri


@pytest.fixture
def host() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


def publish_document(host: ScriptedServer, did: str, handle: str, pds: str, multikey: str) -> None:
    """Put a DID document at its place, in front of the one before."""
    document = {
        "id": did,
        "alsoKnownAs": [f"at://{handle}"],
        "verificationMethod": [
            {"id": f"{did}#atproto", "type": "Multikey", "controller": did, "publicKeyMultibase": multikey}
        ],
        "service": [{"id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": pds}],
    }
    host.say("/.well-known/did.json", document, replace=True)


def service_token(key: ec.EllipticCurvePrivateKey, **claims: Any) -> str:
    """What the owner of a DID signs to open an account under it. Source: https://atproto.com/specs/xrpc#inter-service"""
    parts = [json.dumps(part).encode() for part in ({"alg": "ES256K", "typ": "JWT"}, claims)]
    signed = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    return f"{signed.decode()}.{sign(key, signed)}"


def test_an_account_under_did_web_publishes_and_is_read(online: Network, host: ScriptedServer) -> None:
    """Opened with the owner's key, activated, logged in by handle; records and blobs are read by anybody."""
    server = online.pds[0]
    did, handle = f"did:web:localhost%3A{host.port}", f"webby{host.port}.{server.domain}"
    key = new_key()
    publish_document(host, did, handle, server.url, multikey(key))
    create = "com.atproto.server.createAccount"
    token = service_token(key, iss=did, aud=server.did, lxm=create, exp=int(time.time()) + 60)
    body = {"did": did, "handle": handle, "email": f"{handle}@example.com", "password": PASSWORD}
    session = post(server.url, create, body, token=token)
    recommended = get(server.url, "com.atproto.identity.getRecommendedDidCredentials", token=session["accessJwt"])
    signing_key = recommended["verificationMethods"]["atproto"]
    publish_document(host, did, handle, server.url, signing_key.removeprefix("did:key:"))
    post(server.url, "com.atproto.server.activateAccount", None, token=session["accessJwt"])

    client = Client.login(handle, PASSWORD)
    assert client.repository is not None
    blob = client.repository.upload_blob(b"under did:web", mime_type="application/octet-stream")
    uri = parse_at_uri(client.repository.create_record(COLLECTION, thing("one", blob)).uri)

    assert uri.authority == did
    anybody = Client.anonymous()
    assert anybody.get_record(uri).value == thing("one", blob)
    identity = anybody.resolver.resolve(did)
    assert (identity.handle, identity.pds, identity.signing_key) == (handle, server.url, signing_key)
    assert read_all(client.repository.blob_store(), str(blob.cid), limit=100) == b"under did:web"
