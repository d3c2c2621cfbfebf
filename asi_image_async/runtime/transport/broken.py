"""What an error of aiohttp, or in its client, says: as one of ours, in one line, and without the key."""

from __future__ import annotations

import os

import aiohttp

from ...errors import APIConnectionError, APIError, APITimeoutError

__all__ = ["OF_THE_LINE", "as_api_error", "forget_key"]

OF_THE_LINE = (TimeoutError, aiohttp.ClientError, OSError)


def as_api_error(error: Exception, timeout: float, *, maybe_billed: bool) -> APIError:
    """The same as one of ours; what is not of the line was raised by what a user has added to the client."""
    if isinstance(error, TimeoutError) and not maybe_billed:
        hint = APIConnectionError.default_hint  # a longer one would not help
        return APITimeoutError(f"no connection within {timeout:g} s", hint=hint)
    if isinstance(error, TimeoutError):
        return APITimeoutError(f"no whole reply within {timeout:g} s", maybe_billed=maybe_billed)
    if isinstance(error, OF_THE_LINE):
        return APIConnectionError(_in_one_line(error), maybe_billed=maybe_billed)
    return APIConnectionError(
        f"the http session raised {type(error).__name__}: {_in_one_line(error)}",
        hint="What was added to it, such as a middleware, did: mend that.",
        maybe_billed=maybe_billed,
    )


def _in_one_line(error: Exception) -> str:
    # Its own words may quote the whole of what came.
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
