"""The web app's endpoint in FastAPI, in one file: without its page, and without a limit for each visitor.

    pip install asi_image_async fastapi uvicorn
    ASI_ONE_API_KEY=sk_... uvicorn fastapi_app:app

`POST /api/generate-image` with `{"prompt": "..."}` answers with the picture itself, or with words of error.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from asi_image_async import Generation, ImageSession
from asi_image_async.errors import APIError, ConfigurationError


class Order(BaseModel):
    prompt: str = Field(min_length=1, max_length=2_000)


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    # One session for the whole app: all visitors together keep to the plan's limit.
    async with ImageSession() as app.state.session:
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/api/generate-image")
async def generate_image(order: Order, request: Request) -> Response:
    try:
        generation = await while_connected(request, order.prompt)
    except ConfigurationError as error:
        return JSONResponse({"error": str(error), "hint": error.hint}, 400)
    except APIError as error:
        return JSONResponse({"error": str(error), "hint": error.hint}, 502)
    if generation is None:
        return Response(status_code=499)  # nobody reads it
    return Response(generation.image.data, media_type=generation.image.mime_type)


async def while_connected(request: Request, prompt: str) -> Generation | None:
    """The picture, or None where the visitor has left; then the request to the service is cancelled too."""
    drawing = asyncio.ensure_future(request.app.state.session.generate(prompt))
    try:
        while not (await asyncio.wait([drawing], timeout=0.5))[0]:
            if await request.is_disconnected():
                return None
        return drawing.result()
    finally:
        drawing.cancel()
