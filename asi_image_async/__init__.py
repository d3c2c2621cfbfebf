"""Asyncio SDK for ASI:One's image generation: it paces itself, and pays for each picture once."""

from .core.usage import Usage
from .models import Done, Failed, Generation, Image, ImageRequest, Outcome, Receipt, RunReport
from .policies import RateLimit, RetryPolicy
from .protocols import Sink
from .session import ImageSession
from .sinks import open_sink
from .sinks.callback import CallbackSink
from .sinks.disk import DiskSink
from .sinks.memory import MemorySink

__all__ = [
    "CallbackSink",
    "DiskSink",
    "Done",
    "Failed",
    "Generation",
    "Image",
    "ImageRequest",
    "ImageSession",
    "MemorySink",
    "Outcome",
    "RateLimit",
    "Receipt",
    "RetryPolicy",
    "RunReport",
    "Sink",
    "Usage",
    "open_sink",
]
