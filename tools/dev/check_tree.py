#!/usr/bin/env python3
"""Checks what no compiler checks: that tests, documents and sizes keep up with the code.

    check_tree.py [--list]

Prints each problem and then the sum over all rules and the items they look at,
"N passed, N failed"; --list prints what passed, too. Rules, of the style guide:

    flag       each flag of a pass or pipeline has a RUN line in test/
    roundtrip  each op is in a round-trip test of its dialect
    example    the example of an op's documentation is in that test, up to the names
               of values
    constraint each numbered constraint has a test named @<op>_c<number>
    size       no file is longer than its kind should be, unless its head says why in
               a sentence with "longer" and "because"
    reason     no bare `return failure();` in a matchAndRewrite
    option     no cl::opt outside tools/: options are structs handed down
    path       no path of one developer's machine
    top        nothing new at the top level
    bytes      no file above 2 MB
    format     C and C++ are as clang-format-22 writes them (skipped without it)
"""
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOP = set(
    "CMakeLists.txt CMakePresets.json LICENSE README.md dialects include lib passes"
    " python-bindings runtime test tools".split()
)
# Lines at which a file should be split by family: medians of other compilers' files
# are 68 to 207, and the files that nobody likes have more than these.
SIZES = {".cpp": 400, ".h": 400, ".hpp": 400, ".td": 400, ".c": 400, ".mlir": 250}
MAIN_SIZE = 150
MOST_BYTES = 2 << 20


def tracked_files():
    """Paths below ROOT; without git (an unpacked archive) all but builds."""
    git = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, text=True
    )
    if git.returncode == 0 and git.stdout:
        names = git.stdout.split("\0")
        return sorted(Path(name) for name in names if name and (ROOT / name).is_file())
    skipped = re.compile(r"^(build[^/]*|\.[^/]+)/|__pycache__/")
    names = (path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file())
    return sorted(name for name in names if not skipped.match(str(name)))


class Tree:
    def __init__(self):
        self.files = tracked_files()
        self.texts = {}
        self.results = []  # (rule, item, problem or None)

    def text(self, path):
        """The text of a file; None where it is binary."""
        if path not in self.texts:
            data = (ROOT / path).read_bytes()
            text = None if b"\0" in data else data.decode("utf-8", "replace")
            self.texts[path] = text
        return self.texts[path]

    def below(self, *folders, suffix=""):
        for path in self.files:
            if path.parts[0] in folders and path.name.endswith(suffix):
                if self.text(path) is not None:
                    yield path

    def note(self, rule, item, problem=None):
        self.results.append((rule, str(item), problem))


# === passes and ops =============================================================


def run_lines(tree):
    """All RUN lines of the tests, continuations joined."""
    lines = []
    for path in tree.below("test"):
        text = tree.text(path).replace("\\\n", " ")
        lines += re.findall(r"RUN:(.*)", text)
    return "\n".join(lines)


def check_flags(tree):
    runs = run_lines(tree)
    flags = []
    for path in tree.below("passes", suffix="Passes.td"):
        found = re.findall(r'^def \w+\s*:\s*\w*Pass<\s*"([\w-]+)"', tree.text(path), re.M)
        flags += [(flag, path) for flag in found]
    for path in tree.below("lib", "passes", suffix=".cpp"):
        found = re.findall(r'PassPipelineRegistration<[^>]*>\(\s*"([\w-]+)"', tree.text(path))
        flags += [(flag, path) for flag in found]
    if not flags:
        tree.note("flag", "passes", "no pass was found")
    for flag, path in flags:
        used = re.search(rf"--?{re.escape(flag)}(?![\w-])", runs)
        tree.note("flag", flag, None if used else f"{path}: no RUN line in test/ has --{flag}")


def dialect_ops(tree):
    """(dialect, mnemonic, documentation, path) of each op."""
    for path in tree.below("dialects", suffix=".td"):
        text = tree.text(path)
        starts = list(re.finditer(r"^(def|class) (\w+)", text, re.M))
        for start, end in zip(starts, starts[1:] + [None]):
            body = text[start.start() : end.start() if end else len(text)]
            op = re.match(r'def (\w+?)_\w+Op\s*:\s*\w+<\s*(?:\w+,\s*)?"([\w.]+)"', body)
            if op:
                yield op[1], op[2], body, path


def blank_names(text):
    """Lines without indentation, with all values called %_."""
    text = re.sub(r"%[\w#]+", "%_", text)
    return [line.strip() for line in text.splitlines() if line.strip()]


def check_ops(tree):
    seen = False
    for dialect, mnemonic, body, path in dialect_ops(tree):
        seen = True
        name = f"{dialect.lower()}.{mnemonic}"
        folder = Path("test/dialects") / dialect
        trips = [
            tree.text(test)
            for test in tree.below("test", suffix=".mlir")
            if test.parent == folder and "--verify-roundtrip" in tree.text(test)
        ]
        # A CHECK line shows that it was printed, too.
        printed = any(
            re.search(rf"CHECK[\w-]*:.*{re.escape(name)}(?![\w.])", text) for text in trips
        )
        tree.note(
            "roundtrip",
            name,
            None if printed else f"{path}: no --verify-roundtrip test in {folder} checks {name}",
        )
        lines = {line for text in trips for line in blank_names(text)}
        for number, example in enumerate(re.findall(r"```mlir\n(.*?)```", body, re.S), 1):
            missing = [line for line in blank_names(example) if line not in lines]
            tree.note(
                "example",
                f"{name} {number}",
                f"{path}: this line of the example of {name} is in no round-trip test of "
                f"{folder}: {missing[0]}"
                if missing
                else None,
            )
        invalid = "\n".join(
            tree.text(test)
            for test in tree.below("test", suffix=".mlir")
            if test.parent == folder and "--verify-diagnostics" in tree.text(test)
        )
        for number in sorted(set(re.findall(r"\bC(\d+):", body)), key=int):
            test = f"@{mnemonic}_c{number}"
            there = re.search(rf"{test}(?!\d)", invalid)
            tree.note(
                "constraint",
                f"{name} C{number}",
                None if there else f"{path}: no test in {folder}/invalid.mlir is called {test}",
            )
    if not seen:
        tree.note("roundtrip", "ops", "no op was found")


# === files ======================================================================


def head(text):
    """The comment at the beginning of a file, as one line."""
    lines = []
    for line in text.splitlines():
        if line.strip() and not re.match(r"\s*(//|#|/?\*)", line):
            break
        lines.append(re.sub(r"^\s*(//+|#+|/?\*+)", "", line))
    return " ".join(" ".join(lines).split())


def check_sizes(tree):
    for path in tree.files:
        most = SIZES.get(path.suffix)
        if most is None or tree.text(path) is None:
            continue
        text = tree.text(path)
        is_tool = path.parts[0] == "tools" and path.parts[1] not in ("dev", "examples")
        if is_tool and re.search(r"^int main\(", text, re.M):
            most = MAIN_SIZE
        lines = text.count("\n")
        problem = None
        if lines > most and not re.search(r"\blonger\b.*\bbecause\b", head(text), re.I):
            problem = (
                f"{path}: {lines} lines, above {most}, and its head does not say why "
                '(a sentence with "longer" and "because")'
            )
        tree.note("size", path, problem)


def without_comments(text):
    """The same lines, with comments and the text of strings blanked."""

    def blank(match):
        kept = '""' if match[0][0] == '"' else ""
        return kept + "\n" * match[0].count("\n")

    return re.sub(r'"(?:\\.|[^"\\\n])*"|//[^\n]*|/\*.*?\*/', blank, text, flags=re.S)


def bodies(text, name):
    """(line, body) of each function definition of this name."""
    for start in re.finditer(rf"\b{name}\s*\(", text):
        opening = re.compile(r"[{;]").search(text, start.end())
        if not opening or opening[0] == ";":
            continue
        depth = 0
        for brace in re.compile(r"[{}]").finditer(text, opening.start()):
            depth += 1 if brace[0] == "{" else -1
            if depth == 0:
                first = text.count("\n", 0, opening.start()) + 1
                yield first, text[opening.start() : brace.end()]
                break


def check_reasons(tree):
    for path in tree.below("dialects", "passes", "lib", suffix=".cpp"):
        text = without_comments(tree.text(path))
        for first, body in bodies(text, "matchAndRewrite"):
            bare = re.search(r"return\s+(mlir::)?failure\(\)\s*;", body)
            line = first + body.count("\n", 0, bare.start()) if bare else first
            tree.note(
                "reason",
                f"{path}:{line}",
                f"{path}:{line}: a pattern rejects without a reason; say it with "
                "notifyMatchFailure"
                if bare
                else None,
            )


def check_options(tree):
    for path in tree.below("dialects", "include", "lib", "passes", "runtime", "test"):
        if path.suffix not in (".cpp", ".h"):
            continue
        found = re.search(r"\bcl::(opt|list|bits|alias)\b", without_comments(tree.text(path)))
        tree.note(
            "option", path, f"{path}: has a {found[0]}; only tools/ may" if found else None
        )


def check_paths(tree):
    # In two pieces, or this line would be found.
    machine = re.compile(r"(?<![\w.$}/-])/(?:work|opt|root|home)" + "/")
    for path in tree.files:
        text = tree.text(path)
        if text is None or path.suffix in (".onnx", ".npz", ".weights"):
            continue
        found = machine.search(text)
        line = text.count("\n", 0, found.start()) + 1 if found else 0
        tree.note(
            "path", path, f"{path}:{line}: has a path of one machine" if found else None
        )


def check_top(tree):
    for name in sorted({path.parts[0] for path in tree.files}):
        new = name not in TOP and not name.startswith(".")
        tree.note("top", name, f"{name}: is new at the top level" if new else None)


def check_bytes(tree):
    for path in tree.files:
        size = (ROOT / path).stat().st_size
        big = size > MOST_BYTES
        tree.note("bytes", path, f"{path}: has {size} bytes, above 2 MB" if big else None)


def check_format(tree):
    program = shutil.which("clang-format-22")
    if not program:
        print("SKIP format: clang-format-22 is not installed")
        return
    paths = [path for path in tree.files if path.suffix in (".cpp", ".h", ".hpp", ".c")]
    run = subprocess.run(
        [program, "--dry-run", "--ferror-limit=0", *map(str, paths)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    bad = dict(reversed(re.findall(r"^(.+?):(\d+):\d+: (?:warning|error)", run.stderr, re.M)))
    for path in paths:
        line = bad.get(str(path))
        tree.note(
            "format",
            path,
            f"{path}:{line}: is not as clang-format-22 -i writes it" if line else None,
        )


def main():
    arguments = sys.argv[1:]
    if arguments not in ([], ["--list"]):
        print(__doc__, end="")
        return 0 if arguments in (["-h"], ["--help"]) else 1
    tree = Tree()
    for check in (
        check_flags,
        check_ops,
        check_sizes,
        check_reasons,
        check_options,
        check_paths,
        check_top,
        check_bytes,
        check_format,
    ):
        check(tree)
    failed = 0
    for rule, item, problem in tree.results:
        if problem:
            failed += 1
            print(f"{rule}: {problem}")
        elif arguments:
            print(f"{rule}: ok {item}")
    print(f"{len(tree.results) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
