"""Who has a handle: asked in DNS, then over HTTPS, or at one server that a private network has for it.

An answer is only a claim: that the DID agrees is checked by `atdata.atproto.identity`.

Source: https://atproto.com/specs/handle#handle-resolution
"""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import msgspec

from atdata.errors import AtdataError, InvalidSyntaxError, LimitError, NotFoundError, UnavailableError
from atdata.net import Transport
from atdata.syntax import Did, Handle, parse_did

DOCUMENT_LIMIT = 256 << 10  # bytes of an answer; a DID document has about 1 KiB
DNS_TIME = 5.0  # seconds for all attempts of one DNS question
_RESERVED = frozenset({"alt", "arpa", "example", "internal", "invalid", "local", "localhost", "onion"})


@dataclass(frozen=True, slots=True)
class _Finding:
    """What one way of asking gave: a DID, or the reason why not and whether that was an answer or silence."""

    did: Did | None
    reason: str = ""
    answered: bool = True


def ask_server(handle: Handle, base: str, transport: Transport) -> Did:
    """Ask the server at ``base``, by ``com.atproto.identity.resolveHandle``.

    Raises:
        NotFoundError: It does not know the handle.
        UnavailableError: It did not answer.
    """
    url = f"{base}/xrpc/com.atproto.identity.resolveHandle?{urlencode({'handle': handle})}"
    response = transport.request("GET", url, limit=DOCUMENT_LIMIT)
    if response.status >= 500:
        raise UnavailableError(f"cannot find out who has the handle {handle}: {base} answered {response.status}")
    did = json_object(response.body).get("did")
    if response.status != 200 or not isinstance(did, str):
        raise NotFoundError(f"nobody has the handle {handle}: {base} does not know it")
    return _parsed(did, f"{base} answered for the handle {handle}")


def ask_everywhere(handle: Handle, transport: Transport, *, dns: bool, nameserver: str | None) -> Did:
    """Ask the owner of the domain, in DNS and then over HTTPS.

    Args:
        dns: False leaves DNS out.
        nameserver: ``ADDRESS:PORT`` of the DNS server to ask. None: those of this machine.

    Raises:
        NotFoundError: Nobody has the handle, or DNS names several DIDs for it.
        UnavailableError: Neither DNS nor the web server of the handle answered.
    """
    if (last := handle.rpartition(".")[2]) in _RESERVED:
        raise NotFoundError(f"the handle {handle} cannot exist: .{last} is reserved")
    findings = []
    if dns:
        findings.append(_ask_dns(handle, nameserver))
    if not findings or findings[0].did is None:
        findings.append(_ask_web(handle, transport))
    if (did := findings[-1].did) is not None:
        return did
    reasons = "; ".join(finding.reason for finding in findings)
    if any(finding.answered for finding in findings):
        raise NotFoundError(f"nobody has the handle {handle}: {reasons}")
    raise UnavailableError(f"cannot find out who has the handle {handle}: {reasons}")


def json_object(body: bytes) -> dict[str, Any]:
    """A stranger's JSON object; empty where the bytes are none."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _ask_dns(handle: Handle, nameserver: str | None) -> _Finding:
    import dns.exception
    import dns.nameserver
    import dns.resolver

    name = f"_atproto.{handle}"
    try:
        resolver = dns.resolver.Resolver(configure=nameserver is None)
        if nameserver is not None:
            address, _, port = nameserver.rpartition(":")
            resolver.nameservers = [dns.nameserver.Do53Nameserver(address, int(port))]
        answer = resolver.resolve(name + ".", "TXT", lifetime=DNS_TIME, search=False)
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return _Finding(None, f"DNS has no TXT record at {name}")
    except (dns.exception.DNSException, OSError) as error:
        return _Finding(None, f"DNS did not answer for {name} ({type(error).__name__})", answered=False)
    texts = {b"".join(record.strings).decode("ascii", "replace") for record in answer}
    dids = {text.removeprefix("did=") for text in texts if text.startswith("did=")}
    if not dids:
        return _Finding(None, f"the TXT records at {name} name no DID")
    if len(dids) > 1:
        raise NotFoundError(f"the handle {handle} is ambiguous: the TXT records at {name} name {len(dids)} DIDs")
    return _Finding(_parsed(dids.pop(), f"the TXT record at {name} says"))


def _ask_web(handle: Handle, transport: Transport) -> _Finding:
    url = f"https://{handle}/.well-known/atproto-did"
    try:
        response = transport.request("GET", url, limit=DOCUMENT_LIMIT)
    except AtdataError as error:
        # Many web servers answer with a page of their own at any address, however long.
        return _Finding(None, str(error), answered=isinstance(error, LimitError))
    if response.status != 200:
        return _Finding(None, f"{url} answered {response.status}", answered=response.status < 500)
    text = response.body.decode("ascii", "replace").strip()
    if not text.startswith("did:"):
        return _Finding(None, f"{url} answered with something else than a DID")
    return _Finding(_parsed(text, f"{url} says"))


def _parsed(text: str, where: str) -> Did:
    try:
        return parse_did(text)
    except InvalidSyntaxError as error:
        raise NotFoundError(f"{where} {error}") from error
