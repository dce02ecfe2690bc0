"""A trustless gateway on loopback that keeps the rules, but for one lie or fault out of a table.

`CAR_FAULTS` spoil streams of blocks, `RAW_FAULTS` single ones. A real gateway that only tells the truth is in
`tests.ipfs.plugin`.
"""

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from tests.storage.faults import Answer, Asked, FaultServer, running
from tests.storage.ipfs_blocks import Blocks, car, section, varint

from atdata.errors import InvalidSyntaxError
from atdata.syntax import Cid, parse_cid

RAW_TYPE = {"Content-Type": "application/vnd.ipld.raw"}
CAR_TYPE = {"Content-Type": "application/vnd.ipld.car; version=1; order=dfs; dups=y"}
HTML = Answer(body=b"<!DOCTYPE html><title>Welcome</title>" * 20, headers={"Content-Type": "text/html; charset=utf-8"})


@dataclass(frozen=True)
class Call:
    """One request as the gateway understood it.

    Attributes:
        cid: Of the block, or of the root of the file.
        sent: The blocks that an honest gateway sends.
        start: Where in the file it begins; 0 for single blocks.
        is_car: Whether a stream was asked for.
    """

    cid: Cid
    sent: Sequence[tuple[Cid, bytes]]
    start: int
    is_car: bool


Fault = Callable[[Call], Answer]


def honest(call: Call) -> Answer:
    """What should be sent."""
    if call.is_car:
        return Answer(body=car(call.sent), headers=CAR_TYPE, ranges=False)
    return Answer(body=call.sent[0][1], headers=RAW_TYPE, ranges=False)


def _flipped(block: bytes) -> bytes:
    return block[:-1] + bytes([block[-1] ^ 1])


def _car(blocks: Sequence[tuple[Cid, bytes]]) -> Answer:
    return Answer(body=car(blocks), headers=CAR_TYPE, ranges=False)


def one_bit(call: Call) -> Answer:
    """One bit of a block in the middle is wrong."""
    middle = len(call.sent) // 2
    blocks = list(call.sent)
    blocks[middle] = (blocks[middle][0], _flipped(blocks[middle][1]))
    return _car(blocks) if call.is_car else honest(replace(call, sent=blocks))


def _middle(call: Call) -> int:
    return len(honest(call).body) * 2 // 3


def _endless(first: bytes, piece: bytes) -> Answer:
    head = "".join(f"{name}: {value}\r\n" for name, value in CAR_TYPE.items())
    start = f"HTTP/1.1 200 OK\r\n{head}\r\n".encode() + first
    return Answer(raw=itertools.chain([start], itertools.repeat(piece)))


def _swapped(blocks: Sequence[tuple[Cid, bytes]]) -> list[tuple[Cid, bytes]]:
    """Each two neighbours behind the first block in the other order."""
    rest = list(blocks[1:])
    for i in range(0, len(rest) - 1, 2):
        rest[i], rest[i + 1] = rest[i + 1], rest[i]
    return [blocks[0], *rest]


def _other(number: int) -> tuple[Cid, bytes]:
    blocks = Blocks()
    content = number.to_bytes(4, "big") * 5000
    return blocks.add(content, chunk=len(content)), content


CAR_FAULTS: Mapping[str, Fault] = {
    "lies in one bit": one_bit,
    "cut within a block": lambda call: replace(honest(call), cut=_middle(call)),
    "ends after a block": lambda call: _car(call.sent[: len(call.sent) // 2]),
    "ends after the header": lambda call: _car([]),
    "empty": lambda call: Answer(headers=CAR_TYPE),
    "stalls": lambda call: replace(honest(call), stall=_middle(call)),
    "stalls at once": lambda call: replace(honest(call), stall=0),
    "the other way round": lambda call: _car([call.sent[0], *reversed(call.sent[1:])]),
    "neighbours swapped": lambda call: _car(_swapped(call.sent)),
    "each block twice": lambda call: _car([block for block in call.sent for _ in range(2)]),
    "each block four times": lambda call: _car([block for block in call.sent for _ in range(4)]),
    "no block twice": lambda call: _car(list(dict(call.sent).items())),
    "the root for ever": lambda call: _endless(car(call.sent[:1]), section(*call.sent[0])),
    "one leaf for ever": lambda call: _endless(car(call.sent[:4]), section(*call.sent[3])),
    "blocks of other files": lambda call: _car([call.sent[0], *map(_other, range(50))]),
    "blocks of other files between": lambda call: _car(
        [block for i, own in enumerate(call.sent) for block in (own, _other(i))]
    ),
    "zeros for ever": lambda call: _endless(car(call.sent[:3]), bytes(1 << 16)),
    "a huge varint": lambda call: Answer(body=car(call.sent[:3]) + b"\xff" * 9 + b"\x01", headers=CAR_TYPE),
    "a huge block": lambda call: Answer(body=car(call.sent[:3]) + varint(1 << 40), headers=CAR_TYPE, length=1 << 41),
    "not a CAR": lambda call: Answer(body=b"\x0bhello world" * 100, headers=CAR_TYPE),
    "HTML": lambda call: HTML,
    "500": lambda call: Answer(500),
    "404": lambda call: Answer(404),
    "429": lambda call: Answer(429, headers={"Retry-After": "3600"}),
}

RAW_FAULTS: Mapping[str, Fault] = {
    "lies in one bit": one_bit,
    "cut": lambda call: replace(honest(call), cut=_middle(call)),
    "ends early": lambda call: Answer(body=honest(call).body[:-1], headers=RAW_TYPE),
    "empty": lambda call: Answer(headers=RAW_TYPE),
    "stalls": lambda call: replace(honest(call), stall=_middle(call)),
    "zeros for ever": lambda call: _endless(b"", bytes(1 << 16)),
    "another block": lambda call: Answer(body=b"another", headers=RAW_TYPE),
    "HTML": lambda call: HTML,
    "500": lambda call: Answer(500),
    "503 for an hour": lambda call: Answer(503, headers={"Retry-After": "3600"}),
    "404": lambda call: Answer(404),
    "410": lambda call: Answer(410),
    "403": lambda call: Answer(403),
    "451": lambda call: Answer(451),
}


class LyingGateway(FaultServer):
    """Serves blocks, each request through a fault.

    Args:
        blocks: What it has.
        car: Spoils CARs.
        raw: Spoils single blocks.
        ranges: Whether it knows ``entity-bytes``.
    """

    def __init__(self, blocks: Blocks, *, car: Fault = honest, raw: Fault = honest, ranges: bool = True) -> None:
        super().__init__({})
        self._blocks = blocks
        self._car, self._raw = car, raw
        self._ranges = ranges

    @property
    def base(self) -> str:
        return self.url("")

    @property
    def cars(self) -> list[str]:
        """The CARs that were asked for: their ``entity-bytes``, empty for a whole file."""
        found = [re.search(r"entity-bytes=([^&]*)", path) for path in self._paths("car")]
        return [match[1] if match else "" for match in found]

    @property
    def singles(self) -> list[str]:
        """The CIDs of single blocks that were asked for."""
        return [path.split("/")[2].partition("?")[0] for path in self._paths("raw")]

    def take(self, asked: Asked) -> Answer:
        with self.lock:
            self.asked.append(asked)
        match = re.fullmatch(r"/ipfs/([^/?]+)\?format=(raw|car)(?:&.*?)?(?:&entity-bytes=(\d+):(\d+|\*))?", asked.path)
        if match is None:
            return Answer(400)
        try:
            cid = parse_cid(match[1])
        except InvalidSyntaxError:
            return Answer(400)
        if cid not in self._blocks.blocks:
            return Answer(404)
        if match[2] == "raw":
            return self._raw(Call(cid, [(cid, self._blocks.blocks[cid])], 0, is_car=False))
        start = int(match[3] or 0) if self._ranges else 0
        stop = int(match[4]) + 1 if self._ranges and match[4] not in (None, "*") else None
        sent = [(part, self._blocks.blocks[part]) for part in self._blocks.in_order(cid, start, stop)]
        return self._car(Call(cid, sent, start, is_car=True))

    def _paths(self, form: str) -> list[str]:
        with self.lock:
            return [asked.path for asked in self.asked if f"format={form}" in asked.path]


@contextmanager
def gateway(blocks: Blocks, *, car: Fault = honest, raw: Fault = honest, ranges: bool = True) -> Iterator[LyingGateway]:
    """A gateway for the length of a block."""
    with running(LyingGateway(blocks, car=car, raw=raw, ranges=ranges)) as server:
        yield server
