"""An account that moves from one real PDS to the other, as its owner would do it.

Source: https://atproto.com/guides/account-migration
"""

import json
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import libipld
from cryptography.hazmat.primitives.asymmetric import ec
from tests.network.keys import multikey, new_key, sign
from tests.network.plugin import PASSWORD, Account, Network, get, post


class MovableAccount:
    """An account whose owner has a key of the PLC directory, and so can move it without mail.

    Attributes:
        account: Where it is now.
    """

    def __init__(self, network: Network, name: str, *, pds: int = 0) -> None:
        """Make an account; its handle is ``name`` below the domain of its server."""
        self._network = network
        self._name = name
        self._key = new_key()
        server = network.pds[pds]
        handle = f"{name}.{server.domain}"
        body = {"handle": handle, "email": f"{handle}@example.com", "password": PASSWORD}
        key = f"did:key:{multikey(self._key)}"
        did = post(server.url, "com.atproto.server.createAccount", body | {"recoveryKey": key})["did"]
        self.account = Account(did, handle, PASSWORD, server)

    def copy_to(self, pds: int) -> None:
        """Open the account on another server, not active, and take records and blobs along."""
        old, new = self.account, self._moved_to(pds)
        create = "com.atproto.server.createAccount"
        query = urlencode({"aud": new.pds.did, "lxm": create})
        invitation = get(old.pds.url, f"com.atproto.server.getServiceAuth?{query}", token=token_of(old))["token"]
        body = {"did": new.did, "handle": new.handle, "email": f"{new.handle}@example.com", "password": PASSWORD}
        token = post(new.pds.url, create, body, token=invitation)["accessJwt"]
        repository = _read(f"{old.pds.url}/xrpc/com.atproto.sync.getRepo?did={old.did}")
        _send(new.pds.url, "com.atproto.repo.importRepo", repository, "application/vnd.ipld.car", token)
        for blob in get(new.pds.url, "com.atproto.repo.listMissingBlobs", token=token)["blobs"]:
            content = _read(f"{old.pds.url}/xrpc/com.atproto.sync.getBlob?did={old.did}&cid={blob['cid']}")
            _send(new.pds.url, "com.atproto.repo.uploadBlob", content, "application/x-tar", token)

    def switch_to(self, pds: int) -> None:
        """Name the other server in the DID document, begin there, and end at the first one."""
        old, new = self.account, self._moved_to(pds)
        token = token_of(new)
        advice = get(new.pds.url, "com.atproto.identity.getRecommendedDidCredentials", token=token)
        keys = [f"did:key:{multikey(self._key)}", *advice["rotationKeys"]]
        self._write_directory(self._key, {**advice, "rotationKeys": keys})
        post(new.pds.url, "com.atproto.server.activateAccount", None, token=token)
        post(old.pds.url, "com.atproto.server.deactivateAccount", {}, token=token_of(old))
        self.account = new

    def _moved_to(self, pds: int) -> Account:
        server = self._network.pds[pds]
        return replace(self.account, handle=f"{self._name}.{server.domain}", pds=server)

    def _write_directory(self, key: ec.EllipticCurvePrivateKey, facts: dict[str, Any]) -> None:
        url = f"{self._network.plc}/{self.account.did}"
        last = json.loads(_read(f"{url}/log/audit"))[-1]["cid"]
        operation = {"type": "plc_operation", **facts, "prev": last}
        signed = {**operation, "sig": sign(key, libipld.encode_dag_cbor(operation))}
        request = Request(url, data=json.dumps(signed).encode(), headers={"Content-Type": "application/json"})
        with urlopen(request, timeout=60):
            pass


def token_of(account: Account) -> str:
    """An access token, by a login of its own."""
    body = {"identifier": account.did, "password": account.password}
    token: str = post(account.pds.url, "com.atproto.server.createSession", body)["accessJwt"]
    return token


def _read(url: str) -> bytes:
    with urlopen(url, timeout=60) as answer:
        content: bytes = answer.read()
        return content


def _send(base: str, nsid: str, data: bytes, mime_type: str, token: str) -> None:
    headers = {"Content-Type": mime_type, "Authorization": f"Bearer {token}"}
    with urlopen(Request(f"{base}/xrpc/{nsid}", data=data, headers=headers), timeout=60):
        pass
