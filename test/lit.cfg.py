# The lit suite: every .mlir file below this folder is a test.
import os

import lit.formats

config.name = "Ferrite"
config.test_format = lit.formats.ShTest(execute_external=False)
config.suffixes = [".mlir", ".test"]
config.excludes = ["models", "e2e", "Inputs", "hostile", "fuzz"]
config.test_source_root = os.path.dirname(__file__)
config.environment["PATH"] = os.pathsep.join(
    [config.ferrite_tools_dir, config.llvm_tools_dir, os.environ["PATH"]]
)
config.environment["FILECHECK_OPTS"] = (
    "-enable-var-scope --allow-unused-prefixes=false"
)
config.substitutions.append(("%models", os.path.join(config.test_source_root, "models")))
config.substitutions.append(("%python", config.python))
# Builds with sanitizers have no runner for --emit=exe.
runner = os.path.join(config.ferrite_tools_dir, "..", "lib", "ferrite", "runner.o")
if os.path.exists(runner):
    config.available_features.add("runner")
