"""Files and arrays: pictures read, written and drawn, galleries, charts, markup.

Floor 0, imports floor 0. Most important file: `gallery.py`.
"""
