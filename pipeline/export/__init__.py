"""Trained weights to the formats others read. transformers and tokenizers are imported here only, when needed."""
