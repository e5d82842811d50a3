"""Learns models from tried changes; nothing here runs when tests are selected."""
