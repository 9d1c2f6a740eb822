"""Published checkpoints as runs, and runs as files that others read; without torch.

Floor 9, imports floor 0, `data`, `features`, `nn`, `ops`, `quantizers`, `runs`, `tasks`,
`tokenizers` and `training`. Most important file: `layouts.py`.
"""
