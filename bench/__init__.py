"""Measurements on real repositories and beside other tools."""
