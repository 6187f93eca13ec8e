"""Token shards to a trained, exported model. Runs on torch and DeepSpeed; never imports ray."""
