"""How fast an experiment trains here, measured."""
