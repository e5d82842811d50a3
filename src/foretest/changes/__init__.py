"""What changed: git, diffs, touched symbols, words."""
