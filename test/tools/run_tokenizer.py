#!/usr/bin/env python3
"""Tests tools/ferrite/tokenizer.py, the tokenizer of `ferrite generate`.

Asks it as `ferrite` does, about a tokenizer of bytes that is made here, with the chat
templates that models have. Prints "N passed, N failed".
"""
import json
import pathlib
import subprocess
import sys
import tempfile

import tokenizers

PROGRAM = pathlib.Path(__file__).resolve().parents[2] / "tools" / "ferrite" / "tokenizer.py"
MESSAGES = [{"role": "system", "content": "brief"}, {"role": "user", "content": " hi "}]
# Template, and the text that it makes of the messages; None: it refuses them.
TEMPLATES = {
    "chatml": (
        "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] | trim + '\\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}",
        "<|system|>brief\n<|user|>hi\n<|assistant|>"),
    "blocks are trimmed": (
        "{{ bos_token }}\n{% for m in messages %}\n  {% if m.role == 'system' %}\n"
        "    {% continue %}\n  {% endif %}\n{{ m.content }}{{ eos_token }}\n{% endfor %}",
        "<s>\n hi </s>\n"),
    "json": ("{{ messages[0] | tojson }}", '{"role": "system", "content": "brief"}'),
    "namespaces": (
        "{% set n = namespace(count=0) %}{% for m in messages %}"
        "{% set n.count = n.count + 1 %}{% endfor %}{{ n.count }}", "2"),
    "a date": ("{{ strftime_now('%Y') | length }}", "4"),
    "refusal": ("{{ raise_exception('no system message here') }}", None),
    "no way out": ("{{ messages.__class__.__mro__ }}", None),
    "not a template": ("{% for %}", None),
}


def ask(folder, *questions, template=""):
    done = subprocess.run(
        [sys.executable, PROGRAM, folder / "tokenizer.json", template],
        input="".join(json.dumps(q) + "\n" for q in questions), capture_output=True, text=True,
        check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def main():
    counts = [0, 0]

    def add(ok, what, detail=""):
        counts[not ok] += 1
        print("PASS" if ok else "FAIL", f"{what:32s}", detail)

    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(
            vocab={c: i for i, c in enumerate(sorted(
                tokenizers.pre_tokenizers.ByteLevel.alphabet()))}, merges=[]))
        tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = tokenizers.decoders.ByteLevel()
        tokenizer.save(str(folder / "tokenizer.json"))
        (folder / "tokenizer_config.json").write_text(json.dumps(
            {"bos_token": {"content": "<s>"}, "eos_token": "</s>"}))

        text = "na\u00efve \u4f60\u597d"
        [answer] = ask(folder, {"encode": text})
        ids = answer["ids"]
        add(len(ids) == len(text.encode()), "bytes")
        answers = ask(folder, {"decode": ids}, *[{"add": i, "stream": 3} for i in ids],
                      {"end": 3})
        add(answers[0]["text"] == text, "text again")
        add("".join(a["text"] for a in answers[1:]) == text and
            "\ufffd" not in "".join(a["text"] for a in answers[1:]), "text as it comes")
        [answer] = ask(folder, {"chat": MESSAGES})
        add("no chat template" in answer.get("error", ""), "no template")
        for name, (template, want) in TEMPLATES.items():
            path = folder / "given.jinja"
            path.write_text(template)
            answer, = ask(folder, {"chat": MESSAGES}, template=path)
            if want is None:
                add("error" in answer, name, answer.get("error", ""))
            else:
                got = tokenizer.decode(answer.get("ids", []))
                add(got == want, name, repr(got) if "ids" in answer else answer["error"])
        # Where models have theirs: a file first, then the configuration, by name or alone.
        config = json.loads((folder / "tokenizer_config.json").read_text())
        for given, want in (("one", "one"), ([{"name": "tool_use", "template": "no"},
                                              {"name": "default", "template": "two"}], "two")):
            (folder / "tokenizer_config.json").write_text(
                json.dumps({**config, "chat_template": given}))
            [answer] = ask(folder, {"chat": MESSAGES})
            add(tokenizer.decode(answer.get("ids", [])) == want, f"template {want}")
        (folder / "chat_template.jinja").write_text("three")
        [answer] = ask(folder, {"chat": MESSAGES})
        add(tokenizer.decode(answer.get("ids", [])) == "three", "template of a file")
    print(f"{counts[0]} passed, {counts[1]} failed")
    return bool(counts[1])


if __name__ == "__main__":
    sys.exit(main())
