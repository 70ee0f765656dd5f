"""What pyproject.toml cannot say: the version is the changelog's, and the wheel has the models.

    pip wheel traces/python        # from a checkout, which alone has both
"""

import os
import re
import shutil

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
BUILD = os.path.join(ROOT, "build", "python")  # not beside the sources


def version():
    with open(os.path.join(ROOT, "CHANGELOG.md"), encoding="utf-8") as stream:
        return re.search(r"^## ([0-9.]+)", stream.read(), re.MULTILINE)[1]


class BuildWithModels(build_py):
    """Puts models/arch beside the modules, where models.py looks first."""

    def run(self):
        shutil.rmtree(self.build_lib, ignore_errors=True)  # modules that are gone meanwhile
        super().run()
        folder = os.path.join(self.build_lib, "moesim", "arch")
        os.makedirs(folder, exist_ok=True)
        for name in sorted(os.listdir(os.path.join(ROOT, "models", "arch"))):
            if name.endswith(".yaml"):
                shutil.copyfile(os.path.join(ROOT, "models", "arch", name),
                                os.path.join(folder, name))


os.makedirs(BUILD, exist_ok=True)
setup(version=version(), cmdclass={"build_py": BuildWithModels},
      options={"build": {"build_base": BUILD}, "egg_info": {"egg_base": BUILD}})
