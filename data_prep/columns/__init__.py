"""Annotations stored beside the tokens. `config` says what may be asked for, `annotate` makes it."""
