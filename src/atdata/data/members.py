"""Which members make up a sample: consecutive ones with the same key, as webdataset groups them.

A member's name is a key and an extension (`atdata.data.tar.split_name`). Members without a key, ``__index__`` and
others of that kind are passed over. Decoding is `atdata.data.codec` and `atdata.data.columns`.

Source: webdataset 1.0.2, ``tariterators.group_by_keys``.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from atdata.data.headers import NAME_BYTES, Members
from atdata.data.tar import split_name
from atdata.errors import ShardError

_MSGPACK = np.frombuffer(b".msgpack", np.uint8)


def samples_in(members: Members, *, shard: str) -> Iterator[tuple[str, dict[str, int]]]:
    """The samples: each one's key, and the number of its member by extension.

    Raises:
        ShardError: A sample has two members of the same extension.
    """
    current: str | None = None
    by_extension: dict[str, int] = {}
    for number, name in enumerate(members.all_names()):
        parts = split_name(name)
        if parts is None:
            continue
        key, extension = parts
        if key != current:
            if current is not None:
                yield current, by_extension
            current, by_extension = key, {}
        if extension in by_extension:
            raise ShardError(f"sample {key!r} has two members .{extension}", shard=shard)
        by_extension[extension] = number
    if current is not None:
        yield current, by_extension


def equal_samples(members: Members) -> tuple[str, ...] | None:
    """The extensions of the samples where all of them have the same ones in the same order, and keys of one length.

    Then member ``i`` belongs to sample ``i // len(extensions)``. None where that is not so, or cannot be seen without
    looking at single names.
    """
    first = _first_sample(members)
    if first is None or members.names or len(members) % len(first[1]):
        return None
    key, extensions = first
    names = members.name_field().reshape(-1, len(extensions), NAME_BYTES)
    if (names[:, :, len(key) :] != names[0, :, len(key) :]).any():
        return None
    keys = names[:, 0, : len(key)]
    if len(extensions) > 1 and (names[:, 1:, : len(key)] != keys[:, None]).any():
        return None
    # Where the first key has a slash or a dot, all have it, and nowhere else: so all names are split at the same place.
    for mark in (0, ord("."), ord("/"), ord("\n")):
        marked = keys == mark
        if (marked != marked[0]).any():
            return None
    if (keys[:, :2] == ord("_")).all(1).any() or (keys[1:] == keys[:-1]).all(1).any():
        return None
    return extensions


def _first_sample(members: Members) -> tuple[bytes, tuple[str, ...]] | None:
    """Key and extensions of the first sample; None where it has no simple form, or twice the same extension."""
    key: str | None = None
    extensions: list[str] = []
    for number in range(len(members)):
        parts = split_name(members.name(number))
        if parts is None:
            return None
        if key is not None and parts[0] != key:
            break
        key = parts[0]
        if parts[1] in extensions:
            return None
        extensions.append(parts[1])
    return None if key is None else (key.encode("utf-8", "surrogateescape"), tuple(extensions))


def before_last_sample(members: Members) -> int:
    """How many members come before the last sample, which may go on in the next block; all when there is no sample."""
    last: str | None = None
    for number in range(len(members) - 1, -1, -1):
        parts = split_name(members.name(number))
        if parts is None:
            continue
        if last is None:
            last = parts[0]
        elif parts[0] != last:
            return number + 1
    return 0 if last is not None else len(members)


def msgpack_members(members: Members, *, shard: str) -> NDArray[np.int64]:
    """The number of each sample's ``.msgpack`` member; a sample's other members are passed over.

    Raises:
        ShardError: A sample has no ``.msgpack`` member, or two members of the same extension.
    """
    if equal_samples(members) == ("msgpack",) or _all_msgpack(members):
        return np.arange(len(members))
    numbers = []
    for key, by_extension in samples_in(members, shard=shard):
        if "msgpack" not in by_extension:
            there = ", ".join(f".{extension}" for extension in by_extension)
            raise ShardError(f"sample {key!r} has no .msgpack member, only {there}", shard=shard)
        numbers.append(by_extension["msgpack"])
    return np.array(numbers, np.int64)


def _all_msgpack(members: Members) -> bool:
    """True when each member surely is ``KEY.msgpack`` with a key of its own: found without looking at single names."""
    if members.names or len(members) == 0:
        return False
    names = members.name_field()
    used = names != 0
    lengths = used.sum(1)
    if lengths.min() <= len(_MSGPACK) or lengths.max() >= names.shape[1]:
        return False
    rows = np.arange(len(names))
    ends = names[rows[:, None], lengths[:, None] + np.arange(-len(_MSGPACK), 0)]
    return bool(
        (ends == _MSGPACK).all()
        and (used[:, 1:] <= used[:, :-1]).all()  # nothing comes after the first NUL
        and ((names == ord(".")).sum(1) == 1).all()
        and not ((names[:, 0] == ord("_")) & (names[:, 1] == ord("_"))).any()
        and (names[1:] != names[:-1]).any(1).all()
    )
