"""The only HTTP transport. Everything that is fetched passes here: shards, PDSes, DID documents, gateways.

All of them are taken to be hostile. `policy` says what may be reached and how much; `addresses` which addresses are
refused; `connection` opens checked connections; `exchange` follows redirects and retries; `transport` is what the rest
of atdata calls; `response` reads bodies within limits; `stream` is a body that goes on after a cut.
"""

from atdata.net.policy import Policy
from atdata.net.response import Response
from atdata.net.stream import HttpStream
from atdata.net.transport import Transport

__all__ = ["HttpStream", "Policy", "Response", "Transport"]
