"""The program `vqjax`: one file per verb.

Floor 10, imports floor 0, `benchmark`, `convert`, `data`, `features`, `hardware`, `reports`,
`runs`, `sampling` and `training`. Most important file: `main.py`.
"""
