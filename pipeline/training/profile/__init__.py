"""`spanwright train --profile`: where the time of some steps went, and what to change (docs/profiling.md)."""
