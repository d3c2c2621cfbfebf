"""Measurements: `python -m benchmarks.pace` and `python -m benchmarks.money`.

They need the package with its extras, and its rivals: pip install -e ".[all]" openai aiometer
"""
