"""Pages about runs: a report of one, a comparison of several. What they show lies in the run folders (`run`)."""
