"""Files and arrays: pictures and sound, read and written; galleries, charts, markup.

Floor 0, imports floor 0. Most important file: `gallery.py`.
"""
