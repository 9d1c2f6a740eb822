"""The run: state, the one step, the loop around it, and its files on disk.

Floor 7, imports floor 0 and `ops`. Most important file: `step.py`.
"""
