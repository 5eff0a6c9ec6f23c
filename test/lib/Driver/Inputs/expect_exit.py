"""Runs a command and fails unless it ends with a code: expect_exit.py CODE COMMAND..."""
import subprocess
import sys

code = subprocess.run(sys.argv[2:]).returncode
if code != int(sys.argv[1]):
    # FileCheck would see the message and not the code.
    print(f"expect_exit: exit code {code}, expected {sys.argv[1]}")
    sys.exit(1)
