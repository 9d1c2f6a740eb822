"""Pages and tables of runs.

Floor 9, imports floor 0, `data`, `runs`, `sampling`, `tasks` and `training`. Most important file:
`report.py`.
"""
