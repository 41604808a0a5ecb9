"""coffea: the number of entries of a file that was written anew is that of the file before."""

import tempfile
import warnings
from pathlib import Path

import uproot
from coffea import processor
from coffea.nanoevents import BaseSchema

warnings.simplefilter("ignore")


class Count(processor.ProcessorABC):
    def process(self, events):
        return {"n": len(events)}

    def postprocess(self, accumulator):
        return accumulator


def write(path, n):
    with uproot.recreate(path) as file:
        file.mktree("Events", {"x": "float64"})
        file["Events"].extend({"x": [1.0] * n})


def count(path):
    run = processor.Runner(processor.IterativeExecutor(status=False), schema=BaseSchema)
    return run({"data": {"files": {str(path): "Events"}}}, Count())["n"]


with tempfile.TemporaryDirectory() as directory:
    path = Path(directory) / "file.root"
    write(path, 800)
    first = count(path)
    write(path, 1200)
    print(f"got {first}, {count(path)}; wanted 800, 1200")
