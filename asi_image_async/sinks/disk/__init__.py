"""Pictures in a folder that people and tools can open as it is."""

from .sink import DiskSink

__all__ = ["DiskSink"]
