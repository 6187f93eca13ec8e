"""The model on flat batches. Importing this package imports no torch: every command reads `pipeline.model.config`."""
