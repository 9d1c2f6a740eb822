"""Frozen networks: pure functions of arrays that are read from files, verified, or an error.

Floor 3, imports floor 0 and `ops`. Most important file: `weights.py`.
"""
