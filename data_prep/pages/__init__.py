"""Pages to look at: one look and one frame for all of them (the data card, reports, comparisons). See `frame`."""
