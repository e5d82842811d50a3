"""The tools that users already have, asked about the same past changes as every strategy."""
