"""Where a run runs: the command line, and the ranks on this machine."""
