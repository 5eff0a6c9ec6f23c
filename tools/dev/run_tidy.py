#!/usr/bin/env python3
"""Runs clang-tidy (.clang-tidy) over the C++ sources of a build tree.

    run_tidy.py BUILD [--jobs N] [PATH...]

PATHs (default: all) are files or folders of the repository. Prints each finding once and
"N passed, N failed", counted in files. Needs Debian's clang-tidy-22.
"""
import argparse
import concurrent.futures
import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
FINDING = re.compile(r"^(/\S+:\d+:\d+: (?:warning|error): .*)$", re.MULTILINE)


def sources(build: pathlib.Path, paths: list[pathlib.Path]) -> list[str]:
    """The compiled files of the repository below `paths`; generated ones are in the build."""
    entries = json.loads((build / "compile_commands.json").read_text())
    found = {pathlib.Path(entry["directory"], entry["file"]).resolve() for entry in entries}
    return sorted(str(file) for file in found
                  if file.is_relative_to(ROOT) and not file.is_relative_to(build)
                  and any(file.is_relative_to(path) for path in paths))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("paths", nargs="*", type=pathlib.Path, default=[ROOT])
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_intermixed_args()
    build = options.build.resolve()
    files = sources(build, [path.resolve() for path in options.paths])
    if not files:
        print(f"{build} compiles no file there", file=sys.stderr)
        return 1

    def check(file: str) -> tuple[int, str]:
        done = subprocess.run(["clang-tidy-22", "-p", str(build), "--quiet", file],
                              capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + (done.stderr if done.returncode else "")

    seen: set[str] = set()
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for file, (status, output) in zip(files, pool.map(check, files)):
            findings = FINDING.findall(output)
            failed += bool(findings) or status != 0
            if status and not findings:
                print(f"{file}: clang-tidy ended with {status}\n{output}")
            for finding in findings:
                if finding not in seen:
                    seen.add(finding)
                    print(finding)
    print(f"{len(files) - failed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
