"""A training on several machines: node 0 leads, the others follow, and the run folder is where they meet."""
