"""What the recipes' papers claim, compared at a size that one core trains in minutes: `python -m benchmarks.claims`."""
