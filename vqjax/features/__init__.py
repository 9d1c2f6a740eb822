"""Frozen networks: pure functions of arrays that are read from files, verified, or an error."""
