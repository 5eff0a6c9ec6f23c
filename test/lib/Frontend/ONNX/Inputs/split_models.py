#!/usr/bin/env python3
"""split_models.py FILE FOLDER: assembles each model between `# === NAME` and `# ===`."""
import pathlib
import re
import subprocess
import sys

source, folder = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
parts = re.split(r"(?m)^# === ?(\w*)\n", source.read_text())
for name, text in zip(parts[1::2], parts[2::2]):
    if name:
        path = folder / f"{name}.txt"
        path.write_text(text)
        subprocess.run(["ferrite-translate", "--assemble-onnx", path, "-o",
                        folder / f"{name}.onnx"], check=True)
