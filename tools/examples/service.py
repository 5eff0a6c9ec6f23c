"""The checks of http-service, once it is built."""
import concurrent.futures
import contextlib
import http.client
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import threading
import time

from checks import Failed, close, references, require, sentences


class Service:
    """The running service, and a way to ask it."""

    def __init__(self, program, *arguments):
        self.process = subprocess.Popen([program, *map(str, arguments)], text=True,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        line = self.process.stdout.readline()
        match = re.match(r"listening on http://([\d.]+):(\d+)$", line)
        if not match:
            self.kill()
            raise Failed(f"does not listen: {line}{self.process.stderr.read()}")
        self.address = match[1], int(match[2])

    def ask(self, method, path, body=None):
        """(status, the body's bytes)."""
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        connection = http.client.HTTPConnection(*self.address, timeout=60)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def embed(self, request):
        status, body = self.ask("POST", "/embed", request)
        require(status == 200, f"status {status}: {body[:200]}")
        return body

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        said, complaints = self.process.communicate(timeout=60)
        return self.process.returncode, said, complaints

    def work(self, seconds):
        """Waits until the process has used that much more time of the CPU."""
        def used():
            fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text()
            ticks = fields.rpartition(")")[2].split()[11:13]  # utime, stime
            return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
        before, end = used(), time.monotonic() + 60
        while used() < before + seconds:
            require(time.monotonic() < end, "the service does nothing")
            time.sleep(0.01)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


# Name, request, what the answer has to say.
BAD_REQUESTS = [
    ("not JSON", b'{"input_ids": [[1, 2', "not JSON"),
    ("not UTF-8", b'{"input_ids": "\xff\xfe"}', "not JSON"),
    ("no object", [1, 2], "JSON object"),
    ("no inputs", {}, "missing"),
    ("texts", {"texts": ["hello"]}, "no tokenizer"),
    ("a flat list", {"input_ids": [101, 102]}, "list of lists"),
    ("words as ids", {"input_ids": [["hello"]]}, "integers"),
    ("fractions", {"input_ids": [[1.5]]}, "integers"),
    ("a number beyond 64 bits", {"input_ids": [[2**64 - 1]]}, "too large"),
    ("an id beyond the table", {"input_ids": [[30522]]}, "30522"),
    ("no rows", {"input_ids": []}, "input_ids"),
    ("513 tokens", {"input_ids": [[1] * 513]}, "512"),
    ("an input of no model", {"input_ids": [[1]], "other": [[1]]}, "no input 'other'"),
    ("a mask of another shape", {"input_ids": [[1, 2]], "attention_mask": [[1]]},
     "sequence"),
    ("ragged rows with a mask", {"input_ids": [[1, 2], [3]],
                                 "attention_mask": [[1, 1], [1, 0]]}, "differ in length"),
]


def random_requests(count):
    """Requests of many shapes, ragged ones among them."""
    rng = random.Random(64)
    return [{"input_ids": [[rng.randrange(1000, 30000) for _ in range(rng.randint(1, 60))]
                           for _ in range(rng.randint(1, 4))]} for _ in range(count)]


def check_answers(service, results):
    with results.check("http-service: /healthz"):
        status, body = service.ask("GET", "/healthz")
        require(status == 200 and json.loads(body)["status"] == "ok", f"{status} {body}")
    for name, inputs, want in references():
        with results.check(f"http-service: {name}") as note:
            request = {key: value.tolist() for key, value in inputs.items()}
            close(json.loads(service.embed(request))["embeddings"], want, note)
    with results.check("http-service: rows of any length, padded by it") as note:
        rows = list(sentences())
        got = json.loads(service.embed({"input_ids": [ids for ids, _ in rows]}))
        close(got["embeddings"], [want for _, want in rows], note)
    for name, request, words in BAD_REQUESTS:
        with results.check(f"http-service: 400 for {name}") as note:
            status, body = service.ask("POST", "/embed", request)
            require(status == 400, f"status {status}: {body[:200]}")
            message = json.loads(body)["error"]
            require(words in message, message)
            note(message[:70])
    with results.check("http-service: 404, and 413 for 5 MB"):
        status, _ = service.ask("GET", "/nothing")
        require(status == 404, f"status {status}")
        with contextlib.suppress(ConnectionError):  # it may close before all is sent
            status, _ = service.ask("POST", "/embed", b" " * (5 << 20))
            require(status == 413, f"status {status}")


def check_concurrency(service, results):
    with results.check("http-service: 64 at once, bit for bit") as note:
        requests = random_requests(64)
        alone = [service.embed(request) for request in requests]
        for _ in range(3):
            start = threading.Barrier(len(requests))

            def ask(request):
                start.wait(30)
                return service.embed(request)

            with concurrent.futures.ThreadPoolExecutor(len(requests)) as pool:
                together = list(pool.map(ask, requests))
            wrong = sum(a != b for a, b in zip(alone, together))
            require(not wrong, f"{wrong} of 64 answers differ")
        note("3 x 64 equal")
    with results.check("http-service: a row alone as in a batch"):
        for request in random_requests(8):
            rows = json.loads(service.embed(request))["embeddings"]
            for ids, row in zip(request["input_ids"], rows):
                single = json.loads(service.embed({"input_ids": [ids]}))["embeddings"]
                require(single == [row], f"{len(ids)} tokens differ")


def check_shutdown(service, results):
    with results.check("http-service: SIGTERM answers what runs, exits 0"):
        long = {"input_ids": [[1000 + i % 20000 for i in range(400)]] * 32}
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            answer = pool.submit(service.embed, long)
            service.work(0.1)  # of the second or more that 12800 tokens take
            early = not answer.done()
            code, said, complaints = service.end()
            rows = json.loads(answer.result())["embeddings"]
        require(early, "the request was over too soon to tell")
        require(len(rows) == 32 and rows[0] == rows[31], "a wrong answer")
        require((code, said, complaints) == (0, "stopped\n", ""),
                f"exit {code}, {said!r}, {complaints!r}")
