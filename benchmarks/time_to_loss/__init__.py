"""Time to a held-out loss, beside transformers (`python -m benchmarks.time_to_loss`)."""
