"""The start of the keeper in a bare interpreter, where this folder alone is a package `keeper`.

`python -I -S -B …/keeper/__main__.py FD`: the folder around it goes last on the path, so that
nothing there stands before the standard library.
"""

import importlib
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent))
importlib.import_module("keeper.process").script(int(sys.argv[1]))
