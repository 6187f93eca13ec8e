"""What updates the weights, and what of it is kept by parameter: one file for each optimizer (docs/optimizers.md)."""
