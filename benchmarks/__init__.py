"""Measurements: `python -m benchmarks.pace`, `money`, `chaos` and `speed`.

They need the package with its extras, and its rivals: pip install -e ".[all]" openai aiometer. What `speed`
needs beside that it says itself.
"""
