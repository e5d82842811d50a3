"""The only judge: every strategy over past changes, in time order."""
