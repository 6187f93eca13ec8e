"""A training step beside those of others: see __main__.py."""
