"""Which addresses a stranger's data may lead to: a table, and the addresses inside addresses.

`ipaddress.is_global` is not enough: in Python 3.11 it lets NAT64, 6to4, site-local and multicast pass. So the table is
our own. Pure arithmetic; `atdata.net.connection` asks before it connects and again afterwards.

Sources: IANA IPv4 and IPv6 Special-Purpose Address Registries
(https://www.iana.org/assignments/iana-ipv4-special-registry, .../iana-ipv6-special-registry), and the RFCs named.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Range:
    """One range of the table.

    Attributes:
        network: The addresses.
        name: What they are, for messages.
        allowable: Whether the owner of the machine can allow them: addresses of intranets, not of nobody.
    """

    network: IPv4Network | IPv6Network
    name: str
    allowable: bool


def _range(network: str, name: str, *, allowable: bool = False) -> Range:
    return Range(ip_network(network), name, allowable)


# The first match counts: narrow ranges stand before those that hold them.
FORBIDDEN = (
    # Instance metadata of clouds hands out credentials; never, whatever the policy.
    _range("169.254.169.254/32", "instance metadata"),  # AWS, Azure, Google Cloud and others
    _range("169.254.170.2/32", "instance metadata"),  # AWS ECS task credentials
    _range("169.254.170.23/32", "instance metadata"),  # AWS EKS pod identity
    _range("100.100.100.200/32", "instance metadata"),  # Alibaba Cloud
    _range("192.0.0.192/32", "instance metadata"),  # Oracle Cloud
    _range("fd00:ec2::254/128", "instance metadata"),  # AWS over IPv6
    _range("fd00:ec2::23/128", "instance metadata"),  # AWS EKS pod identity over IPv6
    _range("fd20:ce::254/128", "instance metadata"),  # Google Cloud over IPv6
    _range("0.0.0.0/8", "this network"),  # RFC 791; Linux connects 0.0.0.0 to the machine itself
    _range("10.0.0.0/8", "private", allowable=True),  # RFC 1918
    _range("100.64.0.0/10", "shared (carrier-grade NAT)", allowable=True),  # RFC 6598
    _range("127.0.0.0/8", "loopback", allowable=True),  # RFC 1122
    _range("169.254.0.0/16", "link-local", allowable=True),  # RFC 3927
    _range("172.16.0.0/12", "private", allowable=True),  # RFC 1918
    _range("192.0.0.0/24", "IETF protocol assignments"),  # RFC 6890
    _range("192.0.2.0/24", "documentation"),  # RFC 5737
    _range("192.31.196.0/24", "AS112"),  # RFC 7535
    _range("192.52.193.0/24", "AMT"),  # RFC 7450
    _range("192.88.99.0/24", "6to4 relay"),  # RFC 7526
    _range("192.168.0.0/16", "private", allowable=True),  # RFC 1918
    _range("192.175.48.0/24", "AS112"),  # RFC 7534
    _range("198.18.0.0/15", "benchmarking", allowable=True),  # RFC 2544; used inside networks as well
    _range("198.51.100.0/24", "documentation"),  # RFC 5737
    _range("203.0.113.0/24", "documentation"),  # RFC 5737
    _range("224.0.0.0/4", "multicast"),  # RFC 5771
    _range("255.255.255.255/32", "broadcast"),  # RFC 919
    _range("240.0.0.0/4", "reserved"),  # RFC 1112
    _range("::/128", "unspecified"),  # RFC 4291; Linux connects it to the machine itself
    _range("::1/128", "loopback", allowable=True),  # RFC 4291
    _range("64:ff9b:1::/48", "local-use NAT64", allowable=True),  # RFC 8215; where the IPv4 part stands is not fixed
    _range("100::/64", "discard-only"),  # RFC 6666
    _range("100:0:0:1::/64", "dummy prefix"),  # RFC 9780
    _range("2001::/23", "IETF protocol assignments"),  # RFC 2928; Teredo, ORCHID, benchmarking are parts of it
    _range("2001:db8::/32", "documentation"),  # RFC 3849
    _range("2620:4f:8000::/48", "AS112"),  # RFC 7534
    _range("3fff::/20", "documentation"),  # RFC 9637
    _range("5f00::/16", "segment routing"),  # RFC 9602
    _range("fc00::/7", "unique local", allowable=True),  # RFC 4193
    _range("fe80::/10", "link-local", allowable=True),  # RFC 4291
    _range("fec0::/10", "site-local", allowable=True),  # RFC 3879
    _range("ff00::/8", "multicast"),  # RFC 4291
)

# Ranges whose addresses hold an IPv4 address: first bit of it from the left, and whether its bits are inverted.
_EMBEDDING = (
    (IPv6Network("::ffff:0:0/96"), 96, False, "IPv4-mapped"),  # RFC 4291
    (IPv6Network("::ffff:0:0:0/96"), 96, False, "IPv4-translated"),  # RFC 2765
    (IPv6Network("64:ff9b::/96"), 96, False, "NAT64"),  # RFC 6052
    (IPv6Network("2002::/16"), 16, False, "6to4"),  # RFC 3056
    (IPv6Network("2001::/32"), 96, True, "Teredo"),  # RFC 4380
    (IPv6Network("::/96"), 96, False, "IPv4-compatible"),  # RFC 4291; stands last, for :: and ::1 are in the table
)
_ISATAP = (0x00005EFE, 0x02005EFE)  # RFC 5214: bits 64 to 95 of the interface identifier, before an IPv4 address
_LAST_32 = 0xFFFFFFFF


def _embedded(address: Address) -> tuple[IPv4Address, str] | None:
    if not isinstance(address, IPv6Address):
        return None
    number = int(address)
    for network, first_bit, inverted, name in _EMBEDDING:
        if address in network:
            found = number >> (96 - first_bit) & _LAST_32
            return IPv4Address(found ^ _LAST_32 if inverted else found), name
    if number >> 32 & _LAST_32 in _ISATAP:
        return IPv4Address(number & _LAST_32), "ISATAP"
    return None


def _found(address: Address) -> Range | None:
    for entry in FORBIDDEN:
        if address.version == entry.network.version and address in entry.network:
            return entry
    return None


def refusal(raw: str, *, allow_private: bool = False) -> str | None:
    """Say why an address is refused; None where it is not.

    An IPv6 address that embeds an IPv4 address is refused as such: with ``allow_private`` it counts as the address
    that it embeds. A zone (``%eth0``) is passed over.

    Args:
        raw: A numeric address, as ``getpeername`` gives it.
        allow_private: Allow addresses of intranets: loopback, private, link-local and the like; not instance metadata,
            multicast, reserved, nor what stands for no machine at all.

    Example:
        >>> refusal("64:ff9b::7f00:1")
        'NAT64 of 127.0.0.1'
        >>> refusal("93.184.216.34") is None
        True
    """
    address = ip_address(raw.partition("%")[0])
    table = _found(address) if int(address) <= 1 else None  # :: and ::1 are IPv4-compatible in form only
    if table is None and (inner := _embedded(address)):
        embedded, form = inner
        if not allow_private:
            return f"{form} of {embedded}"
        table = _found(embedded)
    elif table is None:
        table = _found(address)
    if table is None or (allow_private and table.allowable):
        return None
    return table.name
