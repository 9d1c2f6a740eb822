"""Pure functions on arrays.

Floor 1, imports floor 0. Most important file: `nearest.py`.
"""
