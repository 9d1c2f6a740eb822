"""Files and arrays: pictures read, written and drawn, galleries, charts, markup."""
