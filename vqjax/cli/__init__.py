"""The program `vqjax`: one file per verb."""
