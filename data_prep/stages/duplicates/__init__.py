"""How `dedup` finds copies: shingles, signatures, what observers store, links, components, survivors."""
