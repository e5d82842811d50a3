"""Public data sets as runs and facts in the lake; one small module a set."""
