"""Connections that are checked before they are made, and again before a byte is sent.

A host name is resolved once, here; addresses that are refused are not even connected to, and the peer's address of the
socket is checked again before TLS begins. So a name that gives a public address first and a private one the second time
gains nothing. Proxy variables of the environment are ignored, for a proxy would connect in our place.

``_new_conn`` is private to urllib3, hence the pin ``urllib3>=2.2,<3`` and the tests of every spelling of loopback.
"""

import socket
import ssl
import sys
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util.connection import allowed_gai_family, create_connection

from atdata.errors import InvalidSyntaxError, RefusedError
from atdata.net.addresses import refusal
from atdata.net.pace import paced_response
from atdata.net.policy import Policy


def _refused(host: str, address: str, reason: str) -> RefusedError:
    return RefusedError(
        f"{host} has the address {address} ({reason}), which data from strangers may not lead to; the owner of this "
        "machine may allow intranets with ATDATA_ALLOW_PRIVATE=1 or Policy(allow_private=True)",
        rule="private-address",
    )


def _connect(connection: HTTPConnection, policy: Policy) -> socket.socket:
    """Resolve, check, connect, check again. Raises `RefusedError`, else urllib3's own errors."""
    host, port = connection.host, connection.port
    allowed = policy.allow_private or f"{host.lower()}:{port}" in policy.private_hosts
    try:
        found = socket.getaddrinfo(host, port, allowed_gai_family(), socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise NameResolutionError(host, connection, error) from error
    except UnicodeError as error:
        raise NewConnectionError(connection, f"{host[:80]!r} is not a host name") from error
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    reasons = {address: refusal(address, allow_private=allowed) for address in addresses}
    if refused := [address for address in addresses if reasons[address]]:
        # A public name with a private address among its addresses is not to be trusted with the others.
        raise _refused(host, refused[0], reasons[refused[0]] or "")
    failure: OSError | None = None
    for address in addresses:
        try:
            sock = create_connection(
                (address, port),
                connection.timeout,
                source_address=connection.source_address,
                socket_options=connection.socket_options,
            )
        except OSError as error:
            failure = error
            continue
        try:
            peer = str(sock.getpeername()[0])
        except OSError:  # reset by the peer already, so there is nobody to check
            sock.close()
            raise
        if reason := refusal(peer, allow_private=allowed):
            sock.close()
            raise _refused(host, peer, reason)
        sys.audit("http.client.connect", connection, host, port)
        return sock
    if isinstance(failure, TimeoutError):
        raise ConnectTimeoutError(connection, f"no answer within {connection.timeout} s") from failure
    raise NewConnectionError(connection, f"{failure}") from failure


def build_pools(policy: Policy) -> urllib3.PoolManager:
    """Connection pools whose every connection is checked against ``policy``."""

    responses = paced_response(policy)

    class CheckedHTTPConnection(HTTPConnection):
        response_class = responses

        def _new_conn(self) -> socket.socket:
            return _connect(self, policy)

    class CheckedHTTPSConnection(HTTPSConnection):
        response_class = responses

        def _new_conn(self) -> socket.socket:
            return _connect(self, policy)

    class CheckedHTTPPool(HTTPConnectionPool):
        ConnectionCls = CheckedHTTPConnection

    class CheckedHTTPSPool(HTTPSConnectionPool):
        ConnectionCls = CheckedHTTPSConnection

    context = ssl.create_default_context()
    if policy.ca_file:
        try:
            context.load_verify_locations(policy.ca_file)
        except OSError as error:  # an ssl.SSLError too
            message = f"{policy.ca_file} gives no certificate authorities: {error.strerror}; see ATDATA_CA_FILE"
            raise InvalidSyntaxError(message, value=policy.ca_file) from error
    pools: Any = urllib3.PoolManager(num_pools=32, maxsize=64, retries=False, ssl_context=context)
    pools.pool_classes_by_scheme = {"http": CheckedHTTPPool, "https": CheckedHTTPSPool}
    return pools  # type: ignore[no-any-return]  # urllib3 does not type what it documents
