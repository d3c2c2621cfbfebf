"""How much of a machine a picture takes, beside what else one would use: `python -m benchmarks.speed`."""
