"""Gateways of IPFS: which are asked, in which order, for single blocks and for CARs, and what became of it.

A gateway is trusted with nothing: what it sends is checked against the CID, and a gateway that lies, stalls or has
nothing costs time only. Which blocks make a file is `atdata.storage.ipfs`'s.
Source: https://specs.ipfs.tech/http-gateways/trustless-gateway/.
"""

import itertools
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

from atdata.errors import (
    AtdataError,
    IntegrityError,
    InvalidSyntaxError,
    LimitError,
    NotFoundError,
    UnavailableError,
)
from atdata.net import Policy, Transport
from atdata.net.exchange import wait_before
from atdata.redaction import carries_secret, shown
from atdata.storage.block import MAX_BLOCK, is_block_of
from atdata.storage.car import CarReader
from atdata.storage.url import hosts_of, scheme_of
from atdata.syntax import Cid

# Public and trustless; https://ipfs.github.io/public-gateway-checker/ has more.
PUBLIC = ("https://trustless-gateway.link", "https://ipfs.io", "https://dweb.link")
KUBO = "http://127.0.0.1:8080"  # where Kubo listens unless told otherwise
_VARIABLE = "ATDATA_IPFS_GATEWAYS"
_READ_TIMEOUT = 30  # seconds; another gateway may be quicker than to wait for this one
_PENALTY = 60  # seconds for which a gateway that failed is asked last
_SHOWN = 300  # characters of a reason in a message that lists several


@dataclass(frozen=True, slots=True)
class Gateway:
    """One gateway.

    Attributes:
        url: Without a slash at the end.
        optional: It may well not be there, as a node on this machine: then nothing is said about it.
    """

    url: str
    optional: bool = False


def parse_gateways(raw: Iterable[str]) -> tuple[Gateway, ...]:
    """Base URLs of gateways, as the owner of the machine gives them; empty ones are passed over.

    Raises:
        InvalidSyntaxError: One is no http or https URL, or carries a query or a secret; or there is none.
    """
    urls = [url.strip().rstrip("/").removesuffix("/ipfs") for url in raw]
    for url in urls:
        if url and (scheme_of(url) not in ("http", "https") or "?" in url or "#" in url or carries_secret(url)):
            raise InvalidSyntaxError(
                f"{shown(url)} is not the base URL of an IPFS gateway, as in https://ipfs.io", value=url
            )
        hosts_of([url])
    if not any(urls):
        raise InvalidSyntaxError(f"no IPFS gateway is named; {_VARIABLE} is a list, as in {','.join(PUBLIC)}", value="")
    return tuple(Gateway(url) for url in dict.fromkeys(urls) if url)


def configured_gateways(policy: Policy, environment: Mapping[str, str] | None = None) -> tuple[Gateway, ...]:
    """The gateways of ``ATDATA_IPFS_GATEWAYS``, separated by commas; else a local node, then public ones.

    A local node is one that wrote its address into its own folder, as Kubo does; or whatever listens at
    127.0.0.1:8080, where the policy lets that be reached at all.

    Raises:
        InvalidSyntaxError: The variable holds something else.
    """
    environment = os.environ if environment is None else environment
    if listed := environment.get(_VARIABLE):
        return parse_gateways(listed.split(","))
    local = _kubo(environment)
    if local is None and (policy.allow_private or KUBO.removeprefix("http://") in policy.private_hosts):
        local = KUBO
    public = parse_gateways(PUBLIC)
    return (Gateway(local, optional=True), *public) if local else public


def _kubo(environment: Mapping[str, str]) -> str | None:
    """The gateway of a node on this machine, from the file that Kubo writes and curl reads."""
    file = Path(environment.get("IPFS_PATH") or Path(environment.get("HOME") or "/nonexistent") / ".ipfs") / "gateway"
    try:
        with file.open("rb") as content:
            url = content.read(200).decode("ascii").strip().rstrip("/")
    except (OSError, UnicodeDecodeError):
        return None
    return url if url.startswith(("http://127.0.0.1:", "http://localhost:", "http://[::1]:")) else None


class Outcome(Enum):
    """What became of asking one gateway."""

    MISSING = "does not have it"
    LIED = "sent something else"
    REFUSED = "may not be asked"
    DOWN = "gave no usable answer"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why one gateway did not deliver."""

    outcome: Outcome
    reason: str
    retry_after: str | None = None

    @classmethod
    def of(cls, error: AtdataError) -> "Failure":
        """What an error says about the gateway."""
        outcome = Outcome.DOWN
        if isinstance(error, NotFoundError):
            outcome = Outcome.MISSING
        elif isinstance(error, IntegrityError | LimitError):
            outcome = Outcome.LIED
        elif isinstance(error, PermissionError):
            outcome = Outcome.REFUSED
        return cls(outcome, str(error))


class Gateways:
    """Asks gateways for blocks. Thread-safe, picklable, safe to use after a fork.

    Args:
        gateways: In the order in which they are asked. The owner of the machine named them: each may have a private
            address, where it redirects to may not.
        policy: Of all requests. A single gateway gets one attempt at a time, all of them together ``attempts``.
    """

    def __init__(self, gateways: Sequence[Gateway], policy: Policy) -> None:
        self._gateways = tuple(gateways)
        self._policy = policy
        self._begin()

    def _begin(self) -> None:
        once = replace(
            self._policy, attempts=1, resumptions=0, read_timeout=min(self._policy.read_timeout, _READ_TIMEOUT)
        )
        self._transports = {
            gateway.url: Transport(replace(once, private_hosts=once.private_hosts | hosts_of([gateway.url])))
            for gateway in self._gateways
        }
        # No locks, for a fork would copy them held: single steps on dictionaries are atomic.
        self._penalties: dict[str, float] = {}
        self._no_ranges: dict[str, bool] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"gateways": self._gateways, "policy": self._policy}

    def __setstate__(self, state: dict[str, Any]) -> None:
        Gateways.__init__(self, state["gateways"], state["policy"])

    @property
    def policy(self) -> Policy:
        """Of all requests."""
        return self._policy

    def in_order(self) -> list[str]:
        """The base URLs, those that failed within the last minute at the end."""
        now = time.monotonic()
        return sorted(
            (gateway.url for gateway in self._gateways),
            key=lambda url: max(self._penalties.get(url, 0) - now, 0),
        )

    def blame(self, gateway: str, failure: Failure) -> None:
        """Note a failure: the gateway is asked last for a while, unless it merely lacks what was asked for."""
        if failure.outcome != Outcome.MISSING:
            self._penalties[gateway] = time.monotonic() + _PENALTY

    def knows_ranges(self, gateway: str) -> bool:
        """Whether a CAR of a part of a file can be had, as far as is known."""
        return gateway not in self._no_ranges

    def note_no_ranges(self, gateway: str) -> None:
        """A gateway sent the whole file where a part was asked for."""
        self._no_ranges[gateway] = True

    def open_car(self, gateway: str, root: Cid, *, start: int, stop: int | None) -> CarReader:
        """A CAR of the file below ``root``, or of the bytes from ``start`` up to ``stop``; the header has been read.

        Raises:
            AtdataError: As `Transport.open` and `CarReader`.
        """
        # Both the parameters and the header say the order, since gateways know the one or the other.
        query = "format=car&dag-scope=entity&car-version=1&car-order=dfs&car-dups=y"
        if start or stop is not None:
            query += f"&entity-bytes={start}:{'*' if stop is None else stop - 1}"
        accept = "application/vnd.ipld.car; version=1; order=dfs; dups=y"
        url = f"{gateway}/ipfs/{root}?{query}"
        return CarReader(self._transports[gateway].open(url, headers={"Accept": accept}))

    def _fetch(self, gateway: str, cid: Cid) -> bytes | Failure:
        """One block from one gateway, checked; or why not."""
        headers = {"Accept": "application/vnd.ipld.raw"}
        url = f"{gateway}/ipfs/{cid}?format=raw"
        try:
            answer = self._transports[gateway].request("GET", url, headers=headers, limit=MAX_BLOCK, retry=False)
        except AtdataError as error:
            return Failure.of(error)
        kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        said = f"it answers {answer.status} {kind[:60]}".rstrip()
        if answer.status in (404, 410):
            return Failure(Outcome.MISSING, said)
        if answer.status in (401, 403, 451):
            return Failure(Outcome.REFUSED, said)
        if answer.status != 200 or kind == "text/html":
            return Failure(Outcome.DOWN, said, answer.headers.get("Retry-After"))
        if not is_block_of(cid, answer.body):
            return Failure(Outcome.LIED, f"its {len(answer.body):,} bytes differ from the digest")
        return answer.body

    def block(self, cid: Cid, path: str, failures: dict[str, Failure]) -> bytes:
        """One block, checked, from the first gateway that has it. Gateways that gave no answer are asked again.

        Args:
            path: The URL that the block is for; for messages.
            failures: What is known already of gateways that did not deliver this block; added to.

        Raises:
            NotFoundError: No gateway has it.
            IntegrityError: Those that have it lie; the message names them and the block.
            UnavailableError: Some might have it; the message lists all that were tried.
        """
        deadline = time.monotonic() + self._policy.deadline
        for attempt in itertools.count(2):
            for gateway in self.in_order():
                known = failures.get(gateway)
                if attempt > 2 and known is not None and known.outcome != Outcome.DOWN:
                    continue
                answer = self._fetch(gateway, cid)
                if isinstance(answer, bytes):
                    return answer
                failures[gateway] = answer
                self.blame(gateway, answer)
            counted = self._counted(failures)
            down = [failure for failure in counted.values() if failure.outcome == Outcome.DOWN]
            asked = next((failure.retry_after for failure in down if failure.retry_after), None)
            left = deadline - time.monotonic()
            wait = wait_before(attempt, self._policy, retry_after=asked, left=left) if down else None
            if wait is None:
                raise _verdict(cid, path, counted)
            time.sleep(wait)
        raise AssertionError("unreachable")

    def _counted(self, failures: Mapping[str, Failure]) -> dict[str, Failure]:
        """The failures that count: not those of a local node that is not there."""
        absent = {
            gateway.url
            for gateway in self._gateways
            if gateway.optional and failures[gateway.url].outcome == Outcome.DOWN
        }
        return {url: failure for url, failure in failures.items() if url not in absent} or dict(failures)


def _verdict(cid: Cid, path: str, failures: Mapping[str, Failure]) -> AtdataError:
    listed = "; ".join(
        f"{gateway} {failure.outcome.value} ({failure.reason[:_SHOWN]})" for gateway, failure in failures.items()
    )
    message = f"{shown(path)}: block {cid} cannot be had. Asked: {listed}"
    outcomes = {failure.outcome for failure in failures.values()}
    if outcomes & {Outcome.DOWN, Outcome.REFUSED}:
        return UnavailableError(f"{message}. Other gateways can be named in {_VARIABLE}")
    if Outcome.LIED in outcomes:
        return IntegrityError(message)
    return NotFoundError(message)
