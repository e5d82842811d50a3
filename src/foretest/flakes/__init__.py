"""Flaky tests of one repository: what its history says of them, their cost, their quarantine."""
