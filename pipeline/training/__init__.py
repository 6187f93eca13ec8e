"""DeepSpeed training: engine, schedule, loader, loop, evaluation, metrics. `python -m pipeline.training RUN`."""
