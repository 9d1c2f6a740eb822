"""How fast and how large a step is on machines that are not here, worked out.

Floor 9, imports floor 0 and `training`. Most important file: `compiled.py`.
"""
