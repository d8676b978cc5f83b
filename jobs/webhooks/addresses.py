"""Which addresses a webhook may reach: those of the public internet, and no others.

`ipaddress.is_global` is not enough: it calls multicast, IPv4 inside IPv6 (mapped, NAT64, 6to4, Teredo) and
some clouds' metadata address global, and its table differs from one Python release to the next. What it lacks
is listed here, from the special-purpose registries of IANA (RFC 6890 and its updates).
"""

import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_CLOSED = tuple(
    ipaddress.ip_network(network)
    for network in (
        "192.0.0.0/24",  # protocol assignments; 192.0.0.192 is the metadata service of one cloud
        "192.88.99.0/24",  # 6to4 relays
        "::/96",  # IPv4-compatible
        "::ffff:0:0/96",  # IPv4-mapped: a resolver has no reason to answer with one
        "64:ff9b::/96",  # NAT64: the last 32 bits are any IPv4 address
        "64:ff9b:1::/48",
        "100::/64",  # discard only
        "2001::/23",  # Teredo and other protocol assignments
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
        "5f00::/16",  # segment routing
        "fec0::/10",  # site-local, as it was
    )
)


def is_public(address: Address) -> bool:
    """Whether a packet to it leaves for a host that anybody may reach."""
    if not address.is_global or address.is_multicast:
        return False
    return not any(address.version == network.version and address in network for network in _CLOSED)


def literal(host: str) -> Address | None:
    """`host` as an address, if it is one: dotted decimal, or IPv6 without brackets and without a zone."""
    try:
        return None if "%" in host else ipaddress.ip_address(host)
    except ValueError:
        return None
