"""The network: sole owner of the aiohttp client, and the one place where its errors become ours.

`client` sends requests, `links` follows what their replies link to, `pool` has the connections.
"""

from .client import Response, Transport

__all__ = ["Response", "Transport"]
