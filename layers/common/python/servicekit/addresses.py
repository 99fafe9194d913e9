"""Which addresses a request that somebody else chose may go to."""

from __future__ import annotations

import ipaddress

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# What `is_global` leaves open, and forms in which an IPv6 address stands for an IPv4 one: whoever
# translates them decides where they lead.
_REFUSED: tuple[_Network, ...] = tuple(
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8",
        "100.64.0.0/10",  # shared by carriers, and by clouds
        "169.254.0.0/16",  # link-local: the clouds' metadata
        "192.0.0.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "224.0.0.0/3",  # multicast, reserved, broadcast
        "2001::/23",  # Teredo and other assignments of the IETF's
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
    )
)
# Outside of it are IPv4-mapped, -compatible and -translated addresses, NAT64, local ones of all
# kinds, multicast, and what nobody has been given yet.
_UNICAST = ipaddress.IPv6Network("2000::/3")
_LOOPBACK = (ipaddress.IPv4Network("127.0.0.0/8"), ipaddress.IPv6Network("::1/128"))


def is_public(address: str, *, loopback: bool = False) -> bool:
    """Whether the address is one of the public internet by every reading of it; `loopback` admits
    this machine's own too. What is no address is not public.
    """
    try:
        known = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(known, ipaddress.IPv6Address) and known.scope_id is not None:
        return False
    if loopback and any(_within(known, network) for network in _LOOPBACK):
        return True
    if isinstance(known, ipaddress.IPv6Address) and known not in _UNICAST:
        return False
    return known.is_global and not any(_within(known, network) for network in _REFUSED)


def _within(address: _Address, network: _Network) -> bool:
    return address.version == network.version and address in network
