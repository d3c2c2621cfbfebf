"""What an error of aiohttp says, in one line and without the key."""

from __future__ import annotations

import os

import aiohttp

__all__ = ["forget_key", "in_one_line"]


def in_one_line(error: Exception) -> str:
    """An error of aiohttp in one line; its own words may quote the whole of what came."""
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the server hung up before it answered"
    words = str(error)
    if type(error) is aiohttp.ClientConnectorError or isinstance(error, aiohttp.ClientConnectorDNSError):
        code = error.errno or 0  # below 0: of the looking up of a name
        reason = os.strerror(code) if code > 0 else error.strerror
        words = f"no connection to {error.host}:{error.port}: {reason}"
    elif isinstance(error, aiohttp.ClientHttpProxyError):
        words = f"the proxy made no connection: {error.status} {error.message}"
    elif isinstance(error, aiohttp.ClientResponseError):
        words = f"the reply is not HTTP: {error.message.partition(':')[0]}"
    return " ".join(words.split())[:400] or type(error).__name__


def forget_key(error: Exception) -> None:
    """Take the key, and what the user says to a proxy, out of it."""
    # The repr of aiohttp's error shows the headers of the request, and its text a proxy's URL: with what
    # the user has to say to the proxy in it.
    if isinstance(error, aiohttp.ClientResponseError):
        headers = error.request_info.headers.copy()
        headers.update(dict.fromkeys(headers.keys() & {"Authorization", "Proxy-Authorization"}, "***"))
        proxy = type(error.request_info.headers)
        url = error.request_info.real_url.with_user(None)
        error.request_info = error.request_info._replace(headers=proxy(headers), real_url=url)
        error.args = (error.request_info, error.history)
