#!/usr/bin/env python3
"""Times a compiled model beside competing processes, and alone.

    beside.py build/bin/ferrite minilm.so --shape input_ids=1x128 --threads 2

Prints for 0 and 1 (`--processes`) competing processes the least time of a call,
the median, and the ratio of the two, which the bar of the README is about.
What follows the artifact goes to `ferrite bench`.
"""
import argparse
import json
import subprocess
import sys


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("ferrite")
    parser.add_argument("artifact")
    parser.add_argument("--processes", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--rounds", type=int, default=3)
    options, rest = parser.parse_known_args()
    command = [options.ferrite, "bench", options.artifact, "--json", *rest]
    for round in range(options.rounds):
        for count in options.processes:
            busy = [
                subprocess.Popen([sys.executable, "-c", "while True: pass"])
                for _ in range(count)
            ]
            try:
                answer = subprocess.run(
                    command, check=True, stdout=subprocess.PIPE, text=True
                )
            finally:
                for process in busy:
                    process.kill()
                    process.wait()
            times = sorted(json.loads(answer.stdout)["samples_s"])
            least, median = times[0], times[(len(times) - 1) // 2]
            print(
                f"{count} competing: min {least * 1e3:.2f} ms, "
                f"median {median * 1e3:.2f} ms, {median / least:.2f} times",
                flush=True,
            )


if __name__ == "__main__":
    main()
