"""Prints the example ids that a process reads in each of five steps: PROCESS PROCESSES PORT."""

import json
import sys

import jax
import numpy as np

from vqjax.data import Arrays
from vqjax.training.distributed import connect
from vqjax.training.mesh import make_mesh
from vqjax.training.sharding import local_rows

process, processes, port = map(int, sys.argv[1:])
connect(f"127.0.0.1:{port}", processes, process)
images = np.zeros((50, 8, 8, 1), np.uint8)
batches = Arrays({"image": images}, {"image": images[:4]}).train(
    8, seed=0, start_step=3, rows=local_rows(8, make_mesh())
)
print(json.dumps([next(batches)["example_id"].tolist() for _ in range(5)]))
assert jax.process_count() == processes
