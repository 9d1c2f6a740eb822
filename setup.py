"""The wheel carries experiments/ as files inside the package; all else is in setup.cfg."""

import pathlib
import shutil

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildPy(build_py):
    """Copies the experiments, which an editable installation finds where they are."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            target = pathlib.Path(self.build_lib) / "vqjax" / "experiments"
            target.mkdir(parents=True, exist_ok=True)
            files = sorted(pathlib.Path("experiments").glob("*.py"))
            if not files:
                raise FileNotFoundError("experiments/*.py: the wheel would have no experiments")
            for file in files:
                shutil.copyfile(file, target / file.name)


setup(cmdclass={"build_py": BuildPy})
