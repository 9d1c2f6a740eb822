"""TFDS builders that come with vqjax; importing one registers it with TFDS."""
