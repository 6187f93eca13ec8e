"""Training state on disk, free of world size and ZeRO stage: save, load, verify, retention."""
