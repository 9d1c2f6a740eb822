"""`python -m vqjax` is the program `vqjax`."""

from vqjax.cli.main import run

if __name__ == "__main__":
    run()
