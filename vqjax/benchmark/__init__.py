"""How fast an experiment trains here, measured.

Floor 9, imports floor 0, `hardware`, `ops`, `runs`, `tasks` and `training`. Most important
file: `measure.py`.
"""
