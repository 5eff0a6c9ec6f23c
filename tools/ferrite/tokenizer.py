"""The tokenizer of `ferrite generate`: a program that answers questions.

`ferrite` carries this text and runs it with Python and the PyPI package
`tokenizers` (for --chat also `jinja2`); it is no part of a package. A question
is a line of JSON on standard input, the answer a line on standard output:

  {"encode": "text"}                  {"ids": [...]}
  {"chat": [{"role", "content"}]}     {"ids": [...]}
  {"add": id, "stream": n}            {"text": "what it adds to stream n"}
  {"end": n}                          {"text": "what was held back"}
  {"decode": [ids]}                   {"text": "..."}
  {"stops": true}                     {"ids": [ends of texts]}
  {"starts": true}                    {"ids": [first tokens of a decoder's text]}
  {"known": true}                     {"size": of the vocabulary}

or {"error": "..."}.
"""
import json
import os
import sys


def read(folder, name):
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8") as file:
        return json.load(file)


class Answers:
    def __init__(self, path, template):
        import tokenizers
        self.tokenizer = tokenizers.Tokenizer.from_file(path)
        self.folder = os.path.dirname(os.path.abspath(path))
        self.template = template
        self.config = read(self.folder, "tokenizer_config.json")
        self.streams = {}

    def encode(self, text, special=True):
        return self.tokenizer.encode(text, add_special_tokens=special).ids

    def decode(self, ids):
        return self.tokenizer.decode(ids, skip_special_tokens=True)

    def add(self, token, stream):
        """The text that a token adds. Bytes of a character that is not whole,
        and what a later token may still change, are held back."""
        state = self.streams.setdefault(stream, {"ids": [], "begin": 0, "read": 0})
        ids = state["ids"]
        ids.append(token)
        known = self.decode(ids[state["begin"]:state["read"]])
        text = self.decode(ids[state["begin"]:])
        if len(text) <= len(known) or text.endswith("\ufffd"):
            return ""
        state["begin"], state["read"] = state["read"], len(ids)
        return text[len(known):]

    def end(self, stream):
        state = self.streams.pop(stream, None)
        if not state:
            return ""
        known = self.decode(state["ids"][state["begin"]:state["read"]])
        return self.decode(state["ids"][state["begin"]:])[len(known):]

    def token_text(self, name):
        token = self.config.get(name)
        return token.get("content") if isinstance(token, dict) else token

    def chat(self, messages):
        template = None
        if self.template:
            with open(self.template, encoding="utf-8") as file:
                template = file.read()
        path = os.path.join(self.folder, "chat_template.jinja")
        if template is None and os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                template = file.read()
        if template is None:
            template = self.config.get("chat_template")
        if isinstance(template, list):  # several, by name
            template = {t["name"]: t["template"] for t in template}.get("default")
        if not template:
            raise ValueError("the model has no chat template: no "
                             "chat_template.jinja and none in "
                             "tokenizer_config.json beside the tokenizer")
        from jinja2 import TemplateError
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        def refuse(message):
            raise TemplateError(message)

        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        environment.globals["raise_exception"] = refuse
        environment.filters["tojson"] = lambda x, **kw: json.dumps(x, ensure_ascii=False, **kw)
        text = environment.from_string(template).render(
            messages=messages, add_generation_prompt=True,
            **{name: self.token_text(name) or "" for name in ("bos_token", "eos_token")})
        return self.encode(text, special=False)

    def stops(self):
        ids = []
        for name in ("generation_config.json", "config.json"):
            found = read(self.folder, name).get("eos_token_id")
            for token in found if isinstance(found, list) else [found]:
                if isinstance(token, int) and token not in ids:
                    ids.append(token)
        text = self.token_text("eos_token")
        token = self.tokenizer.token_to_id(text) if text else None
        if token is not None and token not in ids:
            ids.append(token)
        return ids

    def starts(self):
        ids = []
        for name in ("decoder_start_token_id", "forced_bos_token_id"):
            for file in ("generation_config.json", "config.json"):
                token = read(self.folder, file).get(name)
                if isinstance(token, int):
                    ids.append(token)
                    break
            if not ids:
                break  # a forced token follows a first one
        return ids

    def answer(self, question):
        if "encode" in question:
            return {"ids": self.encode(question["encode"])}
        if "chat" in question:
            return {"ids": self.chat(question["chat"])}
        if "add" in question:
            return {"text": self.add(question["add"], question["stream"])}
        if "end" in question:
            return {"text": self.end(question["end"])}
        if "decode" in question:
            return {"text": self.decode(question["decode"])}
        if "stops" in question:
            return {"ids": self.stops()}
        if "starts" in question:
            return {"ids": self.starts()}
        return {"size": self.tokenizer.get_vocab_size()}


def main(path, template=""):
    answers = None
    for line in sys.stdin:
        try:
            if answers is None:
                answers = Answers(path, template)
            reply = answers.answer(json.loads(line))
        except ModuleNotFoundError as error:
            reply = {"error": f"Python at {sys.executable} has no module {error.name}: "
                              f"pip install {error.name}"}
        except Exception as error:  # whatever a file or a template may raise
            reply = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), flush=True)


main(*sys.argv[1:])
