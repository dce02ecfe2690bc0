"""What may be reached over the network, and how much of it: one value, the same for every transport."""

import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Policy:
    """Limits of a `Transport`. Times are in seconds, sizes in bytes.

    Attributes:
        allow_private: Addresses of intranets may be reached: loopback, private, link-local. For tests and intranets.
        private_hosts: ``host:port`` of hosts that may have such addresses, since the caller named them; wherever they
            redirect to is checked.
        connect_timeout: For a connection, TLS included, and for each 64 KiB that is sent.
        read_timeout: Without a single byte.
        deadline: For one request with all of its attempts; a stream's body does not count.
        min_rate: Bytes a second that a body must bring, over each ``read_timeout`` of waiting for it.
        max_redirects: Redirects that one request follows.
        attempts: Times that a request is tried in all.
        resumptions: Times that one stream goes on after a cut.
        backoff: Longest wait before the second attempt; it doubles with each further one. Waits are random below that.
        max_wait: Longest wait between two attempts, also where ``Retry-After`` asks for more.
        ca_file: Certificate authorities (PEM) that are trusted besides those of the system.
        upgrade: ``http`` on its default port is tried as ``https`` first.
    """

    allow_private: bool = False
    private_hosts: frozenset[str] = frozenset()
    connect_timeout: float = 10
    read_timeout: float = 60
    deadline: float = 300
    min_rate: int = 128
    max_redirects: int = 5
    attempts: int = 4
    resumptions: int = 8
    backoff: float = 0.5
    max_wait: float = 60
    ca_file: str | None = None
    upgrade: bool = True

    @classmethod
    def from_environment(cls) -> "Policy":
        """The defaults, with ``ATDATA_ALLOW_PRIVATE=1`` and ``ATDATA_CA_FILE`` of the environment."""
        return cls(
            allow_private=os.environ.get("ATDATA_ALLOW_PRIVATE", "") == "1",
            ca_file=os.environ.get("ATDATA_CA_FILE") or None,
        )
