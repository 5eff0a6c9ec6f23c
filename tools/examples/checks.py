"""What the checks of the examples are written with."""
import contextlib
import http.client
import pathlib
import subprocess
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOLERANCE = 2e-5  # the project's bar, relative L2


class Failed(Exception):
    """Why a check failed, in a line."""


class Results:
    def __init__(self):
        self.passed = self.failed = 0

    @contextlib.contextmanager
    def check(self, what):
        """Counts the block as one check; what it raises is printed."""
        begin, notes = time.monotonic(), []
        try:
            yield notes.append
        except (Failed, OSError, AssertionError, subprocess.SubprocessError,
                http.client.HTTPException, ValueError, KeyError) as error:
            self.failed += 1
            print(f"FAIL {what:44s} {type(error).__name__}: {error}", flush=True)
        else:
            self.passed += 1
            seconds = f"{time.monotonic() - begin:.1f} s"
            print(f"PASS {what:44s} {', '.join([*notes, seconds])}", flush=True)


def require(condition, why):
    if not condition:
        raise Failed(why)


def execute(*command, limit=300, code=0, **options):
    """Its output; its messages where it was to fail."""
    done = subprocess.run([str(c) for c in command], timeout=limit, text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, errors="replace", **options)
    if done.returncode != code:
        words = (done.stderr.strip() or done.stdout.strip()).splitlines()[-8:]
        raise Failed(f"{pathlib.Path(command[0]).name} {command[1] if command[1:] else ''}: "
                     f"exit {done.returncode}: {' | '.join(words)}")
    return done.stderr if code else done.stdout


def relative_error(got, want):
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    require(got.shape == want.shape, f"shape {got.shape}, not {want.shape}")
    return float(np.linalg.norm(got - want) / np.linalg.norm(want))


def close(got, want, note):
    error = relative_error(got, want)
    require(error <= TOLERANCE, f"relative error {error:.1e}")
    note(f"error {error:.1e}")


def references():
    """(name, inputs, embedding) of each committed case, in numbers of PyTorch."""
    for path in sorted((ROOT / "test" / "e2e").glob("minilm.*.npz")):
        with np.load(path) as file:
            inputs = {n[3:]: file[n] for n in file.files if n.startswith("in.")}
            yield path.name.split(".")[1], inputs, file["out.sentence_embedding"]


def sentences():
    """(token ids, embedding) of each row of the references, without its padding."""
    for _, inputs, embeddings in references():
        for ids, mask, embedding in zip(inputs["input_ids"], inputs["attention_mask"],
                                        embeddings):
            yield ids[mask != 0].tolist(), embedding
