"""Side-by-side runs against the alternatives, in the same process on the same text: `python -m benchmarks.NAME`."""
