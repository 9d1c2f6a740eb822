"""The run: state, the one step, the loop around it, and its files on disk."""
