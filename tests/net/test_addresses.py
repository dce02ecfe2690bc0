"""Which addresses are refused: the table, and IPv4 inside IPv6."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atdata.net.addresses import FORBIDDEN, refusal

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "93.184.215.14",
    "11.0.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "192.167.255.255",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "100.63.255.255",
    "100.128.0.0",
    "2606:4700:4700::1111",
    "2a00:1450:4001:81b::200e",
    "2001:4860:4860::8888",
    "2003::1",
    "2400::1",
]

INTRANET = [
    "127.0.0.1",
    "127.255.255.255",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.1.1",
    "198.18.0.1",
    "::1",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "64:ff9b:1::7f00:1",
]

NEVER = [
    "0.0.0.0",
    "0.1.2.3",
    "169.254.169.254",
    "169.254.170.2",
    "100.100.100.200",
    "fd00:ec2::254",
    "192.0.0.1",
    "192.0.2.1",
    "198.51.100.7",
    "203.0.113.9",
    "192.88.99.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "100::1",
    "2001:db8::1",
    "2001:10::1",
    "3fff::1",
    "5f00::1",
    "ff02::1",
]

EMBEDDING = [
    "::ffff:{}",
    "::ffff:0:{}",
    "64:ff9b::{}",
    "::{}",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_allowed(address: str) -> None:
    """Neighbours of every range stay reachable."""
    assert refusal(address) is None
    assert refusal(address, allow_private=True) is None


@pytest.mark.parametrize("address", INTRANET)
def test_addresses_of_intranets_need_the_owner(address: str) -> None:
    """Refused, unless the owner of the machine allows them."""
    assert refusal(address)
    assert refusal(address, allow_private=True) is None


@pytest.mark.parametrize("address", NEVER)
def test_some_addresses_are_never_allowed(address: str) -> None:
    """Instance metadata, multicast, and what stands for no machine: whatever the policy."""
    assert refusal(address)
    assert refusal(address, allow_private=True)


@pytest.mark.parametrize("form", EMBEDDING)
@pytest.mark.parametrize("inner", ["127.0.0.1", "10.1.2.3", "169.254.169.254", "8.8.8.8"])
def test_embedded_addresses_are_refused_and_judged_by_what_they_embed(form: str, inner: str) -> None:
    """Forms that embed IPv4 are refused; for the owner who allows intranets the address inside counts."""
    address = form.format(inner)

    assert inner in (refusal(address) or "")
    assert refusal(address, allow_private=True) == refusal(inner, allow_private=True)


@given(st.ip_addresses(v=4))
def test_6to4_teredo_and_isatap_are_unwrapped(inner: ipaddress.IPv4Address) -> None:
    """The address is found where each form hides it; Teredo inverts it."""
    number = int(inner)
    hidden = [
        ipaddress.IPv6Address(0x2002 << 112 | number << 80 | 1),
        ipaddress.IPv6Address(0x20010000 << 96 | 0x1234 << 64 | number ^ 0xFFFFFFFF),
        ipaddress.IPv6Address(0x2A00 << 112 | 0x5EFE << 32 | number),
    ]

    for address in hidden:
        assert str(inner) in (refusal(str(address)) or "")
        assert refusal(str(address), allow_private=True) == refusal(str(inner), allow_private=True)


@given(st.ip_addresses())
def test_what_python_calls_private_is_refused(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    """The table refuses everything that the standard library's list does, but what IANA has made global since."""
    later_global = ipaddress.ip_network("192.0.0.0/24"), ipaddress.ip_network("2001::/23")
    if not address.is_global and not any(address.version == n.version and address in n for n in later_global):
        assert refusal(str(address))


@pytest.mark.parametrize("entry", FORBIDDEN, ids=lambda entry: str(entry.network))
def test_each_range_is_refused_from_its_first_to_its_last_address(entry) -> None:  # type: ignore[no-untyped-def]
    """No entry of the table is hidden by another that allows."""
    assert refusal(str(entry.network[0]))
    assert refusal(str(entry.network[-1]))
