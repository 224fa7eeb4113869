"""Reader studies: what is asked of whom in which order, and what the answers say."""
