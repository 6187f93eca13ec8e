"""The hot path's kernels: one folder and one entry point per kernel, a plain reference (the specification) in each."""
