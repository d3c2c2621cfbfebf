"""One request becomes one generation: gate, transport, wire, decode, and the one retry layer round them."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import anyio

from .brake import Brake, Stopped
from .core.backoff import pause, retry_delay
from .core.decode import decode_picture, to_image
from .core.pace import Turn
from .core.usage import images_asked
from .core.wire import Incoming, Link, Reply, encode_request, read_error, read_reply
from .errors import (
    APIConnectionError,
    APIError,
    APIStatusError,
    BudgetExceededError,
    ConfigurationError,
    InvalidResponseError,
    RateLimitError,
    ServerError,
)
from .events import Event, RequestCancelled, RequestFailed, RequestStarted, RequestSucceeded, RetryScheduled
from .models import Generation, Image, ImageRequest
from .policies import RetryPolicy
from .runtime.gate import Gate
from .runtime.transport import Transport

__all__ = ["Books", "Exchange", "Item"]

logger = logging.getLogger("asi_image_async")

_LINK_ATTEMPTS = 4

_Images: TypeAlias = tuple[Image, ...]
_LeftOut: TypeAlias = tuple[InvalidResponseError, ...]


@dataclass(eq=False)
class Item:
    """A request on its way, with the key that it carries on every attempt.

    `attempts`: how often it was tried. `in_flight` is true while an attempt may be at the service; after a
    cancellation it tells whether the work may have been billed. `unknown`: the errors of earlier attempts
    that may have been. `row`: its key in a journal. `settled`: what was billed for it is counted.
    """

    request: ImageRequest
    idempotency_key: str
    occurrence: int = 0
    row: bytes = b""
    attempts: int = 0
    in_flight: bool = False
    unknown: list[APIError] = field(default_factory=list)
    settled: bool = False


class Books(Protocol):
    """Who keeps account of what is sent, where that is done."""

    def attempt(self, item: Item) -> AbstractAsyncContextManager[None]:
        """Around one attempt."""

    async def stamp(self, item: Item) -> Callable[[], None]:
        """A request is about to go out; what is given is called when it leaves."""

    def never_left(self, item: Item) -> None:
        """What was about to go out did not."""

    def landed(self, item: Item) -> None:
        """It was surely not billed, nor was any before it."""


class Exchange:
    """Asks for one item until there is a picture or no use in asking again."""

    def __init__(
        self,
        gate: Gate,
        transport: Transport,
        policy: RetryPolicy,
        tell: Callable[[Event], None],
        books: Books | None = None,
    ) -> None:
        self.has_left = False  # a request, on a connection
        self._books = books
        self._gate = gate
        self._transport = transport
        self._policy = policy
        self._tell = tell

    async def ask(self, item: Item, brake: Brake) -> Generation:
        """Ask, and ask again as the policy allows.

        Raises APIError, or Stopped where the brake is pulled while it waits for a turn or a retry. What may
        have been billed once is not forgotten, however the attempts after it end.
        """
        try:
            return await self._ask(item, brake)
        except (Stopped, BudgetExceededError, ConfigurationError):
            if item.unknown:
                raise item.unknown[-1] from None
            raise

    async def _ask(self, item: Item, brake: Brake) -> Generation:
        body = encode_request(item.request)
        started = self._gate.now()
        while True:
            try:
                async with self._books.attempt(item) if self._books else nullcontext():
                    reply, images, left_out = await self._attempt(item, body, brake)
            except APIError as error:
                error.attempts = item.attempts
                delay = retry_delay(error, item.attempts, self._policy, random.random())
                if error.maybe_billed:
                    item.unknown.append(error)
                if delay is None:
                    error.maybe_billed = bool(item.unknown)
                    raise
                if isinstance(error, RateLimitError):  # the gate is closed for everyone, this item included
                    delay = 0.0
                with brake.stops():
                    self._tell(RetryScheduled(item.request, item.attempts, delay, error))
                    await anyio.sleep(delay)
            else:
                said = reply.revised_prompt, reply.request_id, reply.raw
                revised_prompt, request_id, raw = self._transport.key.hide(said)
                return Generation(
                    request=item.request,
                    images=images,
                    created=reply.created,
                    revised_prompt=revised_prompt,
                    request_id=request_id,
                    attempts=item.attempts,
                    elapsed=self._gate.now() - started,
                    raw=raw,
                    occurrence=item.occurrence,
                    left_out=left_out,
                )

    async def _attempt(self, item: Item, body: bytes, brake: Brake) -> tuple[Reply, _Images, _LeftOut]:
        turn = await self._turn(brake)
        started = False
        try:
            stamped = await self._books.stamp(item) if self._books else None
            if self._transport.is_closed:  # meanwhile
                raise Stopped
            self._transport.check()
            item.attempts += 1
            started = True
            self._tell(RequestStarted(item.request, item.attempts, turn.waited))
            reply, images, left_out, size = await self._exchange(item, body, turn, stamped)
            item.in_flight = False
            self._gate.succeeded(turn)
        except APIError as error:
            item.in_flight = False
            if self._books and not error.maybe_billed and not item.unknown:
                self._books.landed(item)
            self._transport.key.forget(error)
            elapsed = self._gate.now() - turn.granted
            self._tell(RequestFailed(item.request, item.attempts, elapsed, error))
            await self._tell_gate(turn, error, item)
            raise
        except BaseException:
            if self._books and not item.in_flight and not item.unknown:
                self._books.landed(item)
            if started:
                elapsed = self._gate.now() - turn.granted
                self._tell(RequestCancelled(item.request, item.attempts, elapsed, item.in_flight))
            raise
        finally:
            if self._books and turn.sent is None:
                self._books.never_left(item)
            self._gate.leave(turn)
        elapsed = self._gate.now() - turn.granted
        counts = size, len(images), len(left_out)
        self._tell(RequestSucceeded(item.request, item.attempts, elapsed, *counts))
        return reply, images, left_out

    async def _turn(self, brake: Brake) -> Turn:
        turn = None if brake.pulled else self._gate.enter_nowait()
        if turn is None:
            with brake.stops():
                turn = await self._gate.enter()
        return turn

    async def _exchange(
        self, item: Item, body: bytes, turn: Turn, stamped: Callable[[], None] | None
    ) -> tuple[Reply, _Images, _LeftOut, int]:
        def leaves() -> None:
            item.in_flight = True  # and still true where this is cancelled
            self.has_left = True
            self._gate.sent(turn)
            if stamped is not None:
                stamped()

        incoming = Incoming()
        response = await self._transport.post(body, item.idempotency_key, incoming.feed, leaves)
        if response.status >= 300:
            asked = self._transport.endpoint
            raise read_error(response.status, response.headers, response.body, asked=asked)
        reply = read_reply(incoming, response.headers.get("x-request-id"))
        images, left_out, linked = await self._images(reply, images_asked(item.request))
        return reply, images, left_out, incoming.size + linked

    async def _images(self, reply: Reply, asked: int) -> tuple[_Images, _LeftOut, int]:
        """The pictures of a reply, what is wrong with others, and how many bytes had to be fetched.

        Each link has the bound of a reply, and all together that of as many as pictures were `asked` for.
        Those that are good are bought, whatever is wrong with another beside them. Raises
        InvalidResponseError where none is.
        """
        images: list[Image] = []
        wrong: list[InvalidResponseError] = []
        linked, room = 0, asked * self._transport.max_bytes
        for picture in reply.pictures:
            try:
                if isinstance(picture, Link):
                    data = await self._fetch(picture, room - linked)
                    linked += len(data)
                else:
                    data = decode_picture(picture)
                images.append(to_image(data))
            except InvalidResponseError as error:
                wrong.append(error)
        if not images:
            raise wrong[0]
        for left_out in wrong:
            self._transport.key.forget(left_out)
            logger.warning("one of %d pictures of a reply is left out: %s", len(reply.pictures), left_out)
        return tuple(images), tuple(wrong), linked

    async def _fetch(self, link: Link, room: int) -> bytes:
        """Get a linked picture; it is bought already, so trying again costs nothing, whatever the policy."""
        most = max(_LINK_ATTEMPTS, self._policy.max_attempts)
        attempt = 1
        while True:
            try:
                return await self._transport.fetch(link.url, room)
            except APIConnectionError as error:
                if attempt >= most:
                    # The reply came whole: another one would have to be paid for.
                    raise InvalidResponseError(
                        str(error), hint="Get it from there while it lasts.", maybe_billed=True
                    ) from error
            wait = pause(attempt, self._policy, random.random())
            await anyio.sleep(0.0 if self._transport.is_closed else wait)
            attempt += 1

    async def _tell_gate(self, turn: Turn, error: APIError, item: Item) -> None:
        if isinstance(error, APIStatusError) and self._asks_for_patience(error, item):
            await self._gate.refused(turn, error.retry_after)
        elif isinstance(error, ServerError | APIConnectionError):
            self._gate.failed(turn)
        else:  # the service looked at it, so no limit stood in its way
            self._gate.succeeded(turn)

    def _asks_for_patience(self, error: APIStatusError, item: Item) -> bool:
        if error.status != 503:
            return type(error) is RateLimitError
        # A 503 may be one machine's bad moment, or of one prompt that breaks it; but a gateway's limit, as of
        # nginx, says 503 too, says it again, and not to one alone.
        to_others = self._gate.struck(item.idempotency_key)
        return error.retry_after is not None or (item.attempts > 1 and to_others)
