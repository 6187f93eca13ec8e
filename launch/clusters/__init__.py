"""Clusters: what their config says, and the texts and commands that would be submitted to each kind."""
