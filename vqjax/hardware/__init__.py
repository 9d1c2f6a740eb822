"""How fast and how large a step is on machines that are not here, worked out."""
