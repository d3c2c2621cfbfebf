"""Links in replies: which may be followed, and how they are written."""

from __future__ import annotations

import ipaddress
import re
import socket
from urllib.parse import urlsplit

from yarl import URL

from ..errors import InvalidResponseError

__all__ = ["as_written", "check_link", "is_private", "refused_link"]

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052: the last four bytes are an IPv4 address
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")  # RFC 4291, 2.4: all that is given out on the internet
_LONGEST = 16_384  # characters; servers take half of that, and an error keeps all of it
_PLAIN = re.compile(r"[!-~]+")  # no blank, no control character, nothing beyond ASCII


def check_link(url: URL, endpoint: URL) -> None:
    """Raises InvalidResponseError for a link that is not to be followed, by what can be told from it.

    Only https, or the endpoint's own origin, and no private address but the endpoint's own host. What a
    name stands for is told when it is resolved.
    """
    if url.scheme != "https" and url.origin() != endpoint.origin():
        raise refused_link(url, "it is neither https nor from the service's own origin")
    if url.host != endpoint.host and is_private(url.host or ""):
        raise refused_link(url, "its address is private")


def as_written(link: str) -> URL:
    """The URL of a link, its path and query letter by letter: a signature may cover them.

    yarl would write `%2F` in a query as `/`, which means the same and signs otherwise. Raises
    InvalidResponseError for a link that is too long, and ValueError for none.
    """
    if len(link) > _LONGEST:
        raise refused_link(f"{link[:200]}…", f"it has {len(link)} characters")
    url = URL(link)
    if not _PLAIN.fullmatch(link) or not url.host:
        return url
    parts = urlsplit(link)
    return URL.build(
        scheme=url.scheme,
        authority=url.raw_authority,
        path=parts.path or "/",
        query_string=parts.query,
        encoded=True,
    )


def refused_link(url: URL | str, why: str) -> InvalidResponseError:
    """The error for a link that is not followed; the picture is bought, so it names the link."""
    return InvalidResponseError(
        f"the picture's link is not followed: {why}: {url}",
        hint="Fetch it yourself if you trust it.",
        maybe_billed=True,
    )


def is_private(host: str) -> bool:
    """Whether `host` is an address that is not of the public internet; a name is not."""
    host = host.split("%")[0].rstrip(".")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        try:  # sockets also take 2130706433, 0x7f.1 and 0177.0.0.1 for 127.0.0.1
            address = ipaddress.IPv4Address(socket.inet_aton(host))
        except (OSError, ValueError):
            return False
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address in _NAT64 and address.packed[12:])
        if inner:
            return is_private(str(ipaddress.IPv4Address(inner)))
        if address not in _GLOBAL_UNICAST:
            return True
    return not address.is_global or address.is_multicast
