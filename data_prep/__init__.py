"""Corpus to token shards. `driver.prepare` does it all; `shards` and `tokenizer` are what training reads."""
