"""What we remember: results lake, catalogue, state, and how it travels."""
