#!/usr/bin/env python3
"""Measures embedd's encoder, over gRPC as a client has it, against other ways to run the same model on the same CPU.

README.md beside this file says what is measured and how. Needs Python 3.11 or newer and nothing else to start: the peers
are installed into a virtual environment of their own, in which the script then runs again.
"""

import argparse
import contextlib
import gzip
import hashlib
import http.client
import itertools
import json
import math
import multiprocessing
import os
import platform
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
MIN_COSINE = 0.996  # of embedd's vectors to those of sentence-transformers in float32, at worst
QUERY_TOKENS = 20  # special tokens included
CHECKED = 64  # texts of each kind whose vectors are compared
ST_BATCH = 32  # the default of sentence-transformers
TEI_BATCH = 32  # the default limit of text-embeddings-inference
IN_FLIGHT = 2  # bulk calls to a server at once
CLIENTS = 8
LEAD = 1.0  # seconds of bulk load before the first interactive query, and after the last

PEERS = {
    "fp32": "sentence-transformers, torch fp32",
    "bf16": "sentence-transformers, torch bf16",
    "autocast": "sentence-transformers, torch autocast bf16",
    "onnx": "sentence-transformers, ONNX fp32",
    "onnx_int8": "sentence-transformers, ONNX dynamic int8",
}


def say(*words):
    print(*words, file=sys.stderr, flush=True)


def fail(message):
    say(f"bench-encoder: {message}")
    sys.exit(1)


# --- the virtual environment -----------------------------------------------------------------------------------------


def enter_venv(folder):
    """Runs this script again inside of the virtual environment in folder, after making it if need be."""
    if sys.version_info < (3, 11):
        fail(f"Python {platform.python_version()} is too old; needs 3.11 or newer")
    folder = Path(os.path.abspath(folder))
    if Path(sys.prefix).resolve() == folder.resolve() and installed(folder):
        return
    python = folder / "bin" / "python"
    if not python.exists():
        say(f"making a virtual environment in {folder}")
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, stdout=sys.stderr)
    if not installed(folder):
        say("installing the peers (some minutes; with the CUDA build of torch about 7 GB)")
        command = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "-r", str(HERE / "requirements.txt")]
        if subprocess.run(command, stdout=sys.stderr).returncode != 0:
            fail("pip could not install bench/encoder/requirements.txt; see above")
        (folder / "bench-encoder.stamp").write_bytes((HERE / "requirements.txt").read_bytes())
    os.execv(str(python), [str(python), str(Path(__file__).resolve()), *sys.argv[1:]])


def installed(folder):
    stamp = folder / "bench-encoder.stamp"
    return stamp.exists() and stamp.read_bytes() == (HERE / "requirements.txt").read_bytes()


# --- child processes: each side, and each client of a server, in one of its own --------------------------------------


class Child:
    """A process with one object of a class below; its methods are asked for by name."""

    def __init__(self, what, **arguments):
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=serve_child, args=(other, what, arguments), daemon=True)
        self.process.start()
        other.close()

    def send(self, method, **arguments):
        self.pipe.send((method, arguments))

    def result(self):
        try:
            ok, value = self.pipe.recv()
        except EOFError:
            raise RuntimeError("a child process ended early; see above") from None
        if not ok:
            raise RuntimeError(f"in a child process:\n{value}")
        return value

    def ask(self, method, **arguments):
        self.send(method, **arguments)
        return self.result()

    def stop(self):
        self.pipe.close()  # an idle child ends at that
        self.process.join(2)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def serve_child(pipe, what, arguments):
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends this process
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.dup2(2, 1)  # stdout is for the report
    try:
        side = {"st": SentenceTransformers, "grpc": GRPCClient, "tei": TEIClient}[what](**arguments)
        pipe.send((True, side.about()))
        while True:
            method, arguments = pipe.recv()
            pipe.send((True, getattr(side, method)(**arguments)))
    except (EOFError, BrokenPipeError):
        pass
    except Exception:
        with contextlib.suppress(OSError):  # the parent has gone
            pipe.send((False, traceback.format_exc()))


def one_by_one(call, texts, seconds):
    """Calls with one text after the other until the seconds are over; gives the latencies and when it began and ended."""
    latencies = []
    start = now = time.monotonic()
    for text in itertools.cycle(texts):
        if now - start >= seconds:
            return latencies, start, now
        before = now
        call(text)
        now = time.monotonic()
        latencies.append(now - before)


class SentenceTransformers:
    """One of PEERS, in its process."""

    def __init__(self, kind, folder, threads):
        import torch
        import transformers
        from sentence_transformers import SentenceTransformer

        transformers.logging.set_verbosity_error()
        torch.set_num_threads(threads)
        self.context = contextlib.nullcontext
        more = {}
        if kind in ("onnx", "onnx_int8"):
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads
            more = {
                "backend": "onnx",
                "model_kwargs": {
                    "provider": "CPUExecutionProvider",
                    "file_name": "onnx/model.onnx" if kind == "onnx" else "onnx/model_int8.onnx",
                    "session_options": options,
                },
            }
        self.model = SentenceTransformer(str(folder), device="cpu", local_files_only=True, **more)
        if kind == "bf16":
            self.model.to(torch.bfloat16)
        if kind == "autocast":
            self.context = lambda: torch.autocast("cpu", dtype=torch.bfloat16)

    def about(self):
        import torch

        return {"max_tokens": self.model.max_seq_length, "torch_cpu_capability": torch.backends.cpu.get_cpu_capability()}

    def encode(self, texts, role=None):
        with self.context():
            return self.model.encode(texts, batch_size=ST_BATCH, convert_to_numpy=True, show_progress_bar=False)

    def bulk(self, texts, role=None):
        start = time.monotonic()
        vectors = self.encode(texts)
        seconds = time.monotonic() - start
        assert len(vectors) == len(texts)
        return seconds

    def singles(self, texts, seconds):
        return one_by_one(lambda text: self.encode([text]), texts, seconds)


class Client:
    """What the clients of a server have in common; a subclass has call(texts, role) and self.size, the texts of a bulk call."""

    def encode(self, texts, role):
        import numpy

        return numpy.concatenate([self.call(texts[i : i + self.size], role) for i in range(0, len(texts), self.size)])

    def calls(self, chunks, role, until=math.inf):
        """Sends chunks, IN_FLIGHT at once, until that time; gives the texts answered and when it began and ended."""
        lock, chunks, answered, ended = threading.Lock(), iter(chunks), [], []

        def caller():
            while time.monotonic() < until:
                with lock:
                    texts = next(chunks, None)
                if texts is None:
                    return
                vectors = self.call(texts, role)
                assert len(vectors) == len(texts)
                answered.append(len(texts))
                ended.append(time.monotonic())

        with ThreadPoolExecutor(IN_FLIGHT) as pool:
            start = time.monotonic()
            for f in [pool.submit(caller) for _ in range(IN_FLIGHT)]:
                f.result()
        return sum(answered), start, max(ended)

    def chunks(self, texts):
        return [texts[i : i + self.size] for i in range(0, len(texts), self.size)]

    def bulk(self, texts, role):
        answered, start, end = self.calls(self.chunks(texts), role)
        assert answered == len(texts)
        return end - start

    def load(self, texts, seconds):
        """Keeps the server busy for that long; gives the texts/s that it answered."""
        answered, start, end = self.calls(itertools.cycle(self.chunks(texts)), "document", time.monotonic() + seconds)
        return answered / (end - start)

    def singles(self, texts, seconds):
        return one_by_one(lambda text: self.call([text], "query"), texts, seconds)


class GRPCClient(Client):
    def __init__(self, address, stubs, size):
        import grpc

        sys.path.insert(0, stubs)
        from embedd.v1 import encode_service_pb2, encode_service_pb2_grpc, info_service_pb2, info_service_pb2_grpc, types_pb2

        self.size = size
        self.request = encode_service_pb2.EncodeRequest
        self.roles = {"query": types_pb2.ROLE_QUERY, "document": types_pb2.ROLE_DOCUMENT}
        channel = grpc.insecure_channel(address, options=[("grpc.max_receive_message_length", 64 << 20)])
        self.service = encode_service_pb2_grpc.EncodeServiceStub(channel)
        info = info_service_pb2_grpc.InfoServiceStub(channel).GetInfo(info_service_pb2.GetInfoRequest(), timeout=60)
        self.info = {
            "version": info.version,
            "model": info.model.id,
            "fingerprint": info.model.fingerprint,
            "precision": info.model.precision,
            "max_tokens": info.model.max_tokens,
        }

    def about(self):
        return self.info

    def call(self, texts, role):
        import numpy

        answer = self.service.Encode(self.request(texts=texts, role=self.roles[role]), timeout=600)
        return numpy.stack([numpy.fromiter(e.vector.values, numpy.float32) for e in answer.encodings])

    def token_counts(self, texts):
        counts = []
        for chunk in self.chunks(texts):
            answer = self.service.Encode(self.request(texts=chunk), timeout=600)
            counts += [e.text_use.token_count for e in answer.encodings]
        return counts


class TEIClient(Client):
    def __init__(self, url):
        self.url, self.size, self.local = urllib.parse.urlsplit(url), TEI_BATCH, threading.local()
        self.info = self.http("GET", "/info")

    def about(self):
        return {"version": self.info.get("version"), "dtype": self.info.get("model_dtype"), "max_tokens": self.info.get("max_input_length")}

    def http(self, method, path, body=None):
        for attempt in (1, 2):
            if not hasattr(self.local, "connection"):
                kind = http.client.HTTPSConnection if self.url.scheme == "https" else http.client.HTTPConnection
                self.local.connection = kind(self.url.hostname, self.url.port, timeout=600)
            connection = self.local.connection
            try:
                connection.request(method, self.url.path.rstrip("/") + path, body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                text = answer.read()
                break
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                connection.close()  # the server closes connections that were idle for long
                del self.local.connection
                if attempt == 2:
                    raise
        if answer.status != 200:
            raise RuntimeError(f"text-embeddings-inference: {answer.status} {text[:500].decode(errors='replace')}")
        return json.loads(text)

    def call(self, texts, role):
        import numpy

        return numpy.array(self.http("POST", "/embed", json.dumps({"inputs": texts, "truncate": True, "normalize": True})), numpy.float32)


# --- texts and model -------------------------------------------------------------------------------------------------


def read_corpus(path):
    """Title, a space and the abstract of each paper, as embedd encodes it."""
    path = Path(path)
    if path.is_dir():
        path = next((path / name for name in ("corpus.jsonl", "corpus.jsonl.gz") if (path / name).exists()), path / "corpus.jsonl")
    if not path.exists():
        fail(f"{path} is not there; give a JSONL file or a BEIR folder")
    texts = []
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            if line.strip():
                paper = json.loads(line)
                title, abstract = paper.get("title") or "", paper.get("abstract") or paper.get("text") or ""
                text = f"{title} {abstract}".strip()
                if text:
                    texts.append(text)
    return texts


def cut(tokenizer, texts, tokens):
    """The beginnings of the texts that have exactly so many tokens; a text that has fewer is left out."""
    beginnings = []
    for text, encoding in zip(texts, tokenizer.encode_batch(texts)):
        if len(encoding.ids) >= tokens:
            beginnings.append(text[: encoding.offsets[tokens - 2][1]])  # the last of the tokens is [SEP]
    return [b for b, e in zip(beginnings, tokenizer.encode_batch(beginnings)) if len(e.ids) == tokens]


def find_folder(models, model):
    """The Hugging Face folder that embedd's graph was written from: the one with its weights."""
    manifest = json.loads((models / model / "manifest.json").read_text())
    source = manifest["files"]["model"].get("source", {}).get("import", {}).get("folder", [])
    weights = {f["sha256"] for f in source if f["path"].endswith(".safetensors")}
    for file in sorted((models / ".sources").glob("*/model.safetensors")):
        if hashlib.sha256(file.read_bytes()).hexdigest() in weights:
            return file.parent
    fail(f"no Hugging Face folder with the weights of {model} in {models}/.sources; give one with --folder")


def prepare_folder(source, scratch, kinds, tei):
    """A copy of the folder with what the peers want beside: the tokenizer's small files, and graphs in onnx/."""
    folder = scratch / "model"
    folder.mkdir()
    for file in source.rglob("*"):
        to = folder / file.relative_to(source)
        if file.is_file():
            to.parent.mkdir(parents=True, exist_ok=True)
            if file.suffix == ".safetensors":
                to.symlink_to(file.resolve())
            else:
                shutil.copyfile(file, to)
    code = f"""
import sys, transformers
from sentence_transformers import SentenceTransformer, export_dynamic_quantized_onnx_model
transformers.logging.set_verbosity_error()
folder, source, int8 = sys.argv[1:]
model = SentenceTransformer(source, device="cpu", backend="onnx" if {bool(tei or {'onnx', 'onnx_int8'} & set(kinds))} else "torch",
    local_files_only=True)
model.tokenizer.save_pretrained(folder)
if model.get_backend() == "onnx":
    model[0].auto_model.save_pretrained(folder + "/onnx")
if {'onnx_int8' in kinds}:
    export_dynamic_quantized_onnx_model(model, int8, folder, file_suffix="int8")
"""
    int8 = "arm64" if platform.machine() in ("arm64", "aarch64") else "avx512_vnni" if "avx512_vnni" in cpu()[1] else "avx2"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code, str(folder), str(source), int8], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        fail(f"the peers' graphs could not be written:\n{done.stdout}")
    return folder


def compile_stubs(scratch):
    stubs = scratch / "stubs"
    stubs.mkdir()
    files = [str(f) for f in sorted((ROOT / "proto" / "embedd" / "v1").glob("*.proto"))]
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I", str(ROOT / "proto"), f"--python_out={stubs}", f"--grpc_python_out={stubs}", *files]
    if subprocess.run(command, stdout=sys.stderr).returncode != 0:
        fail("grpc_tools could not compile proto/embedd/v1; see above")
    return str(stubs)


# --- servers ---------------------------------------------------------------------------------------------------------


def stop_server(process):
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def start_embedd(stack, binary, model, threads, scratch):
    log = open(scratch / "embedd.log", "w+")
    command = [str(binary), "serve", "--listen", "127.0.0.1:0", "--data", str(scratch / "data"), "--model", model, "--workers", str(threads)]
    env = {**os.environ, "EMBEDD_QUERY_CACHE": "0"}  # every query is encoded, also one that comes again
    process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    stack.callback(stop_server, process)
    for _ in range(600):
        text = (scratch / "embedd.log").read_text()
        if served := re.search(r"Serving gRPC on (\S+) until", text):
            return served.group(1)
        if process.poll() is not None:
            fail(f"embedd serve ended:\n{text}")
        time.sleep(0.1)
    fail(f"embedd serve was not ready after a minute:\n{text}")


def start_tei(stack, folder, scratch):
    """Starts text-embeddings-router where it is on PATH; gives its URL, else None."""
    binary = shutil.which("text-embeddings-router")
    if not binary:
        return None
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    log = open(scratch / "tei.log", "w+")
    command = [binary, "--model-id", str(folder), "--hostname", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    stack.callback(stop_server, process)
    for _ in range(1200):
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return f"http://127.0.0.1:{port}"
        if process.poll() is not None:
            fail(f"text-embeddings-router ended:\n{(scratch / 'tei.log').read_text()}")
        time.sleep(0.1)
    fail(f"text-embeddings-router was not ready after two minutes:\n{(scratch / 'tei.log').read_text()}")


# --- the machine -----------------------------------------------------------------------------------------------------


def cpu():
    """Its name, and those of its features that matter here."""
    wanted = "avx2 fma avx512f avx512_vnni avx_vnni avx512_bf16 amx_tile amx_int8 amx_bf16 asimddp i8mm bf16 sve".split()
    try:
        info = Path("/proc/cpuinfo").read_text()
    except OSError:
        done = subprocess.run(["sysctl", "-n", "machdep.cpu.brand_string"], stdout=subprocess.PIPE, text=True)
        return done.stdout.strip() or platform.processor(), []
    name = re.search(r"^model name\s*: (.*)$", info, re.M)
    flags = re.search(r"^(?:flags|Features)\s*: (.*)$", info, re.M)
    have = set(flags.group(1).split()) if flags else set()
    return name.group(1).strip() if name else platform.machine(), [f for f in wanted if f in have]


def cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def versions():
    from importlib.metadata import version

    found = {name: version(name) for name in ("sentence-transformers", "torch", "transformers", "optimum-onnx", "onnxruntime", "grpcio", "numpy")}
    return {"python": platform.python_version(), **found}


# --- measuring -------------------------------------------------------------------------------------------------------


class Figures:
    """For each workload and side: the texts/s of each round, and all latencies."""

    def __init__(self):
        self.rates, self.latencies = {}, {}

    def add(self, workload, side, rate, latencies=()):
        self.rates.setdefault(workload, {}).setdefault(side, []).append(rate)
        self.latencies.setdefault(workload, {}).setdefault(side, []).extend(latencies)

    def rate(self, workload, side):
        return statistics.median(self.rates[workload][side])

    def ratios(self, workload, side, peer_workload, peer):
        return [a / b for a, b in zip(self.rates[workload][side], self.rates[peer_workload][peer])]

    def percentile(self, workload, side, p):
        """In milliseconds."""
        latencies = sorted(self.latencies[workload][side])
        return 1000 * latencies[min(len(latencies) - 1, max(0, math.ceil(p / 100 * len(latencies)) - 1))]


def part(texts, n, number):
    """The number-th n of the texts, from the beginning again where they end."""
    return [texts[(number * n + i) % len(texts)] for i in range(n)]


def check_vectors(sides, abstracts, queries, tokenizer):
    """Compares every side's vectors with those of fp32; stops unless embedd's are near enough."""
    import numpy

    def unit(v):
        return v / numpy.linalg.norm(v.astype(numpy.float64), axis=1, keepdims=True)

    cosines = {}
    for kind, texts in (("document", abstracts), ("query", queries)):
        reference = unit(sides["fp32"].ask("encode", texts=texts))
        for name, child in sides.items():
            vectors = child.ask("encode", texts=texts, role=kind)
            if vectors.shape != reference.shape or not numpy.isfinite(vectors).all():
                fail(f"{name}: vectors of shape {vectors.shape}, must be {reference.shape} and finite")
            cosines.setdefault(name, {})[kind] = (unit(vectors) * reference).sum(axis=1)
    worst = {name: {kind: round(float(c.min()), 5) for kind, c in by.items()} for name, by in cosines.items()}
    for name, by in worst.items():
        say(f"  {name:<10} worst cosine to fp32: abstracts {by['document']:.5f}, queries {by['query']:.5f}")
    texts = abstracts + queries
    ours, theirs = sides["embedd"].ask("token_counts", texts=texts), [len(e.ids) for e in tokenizer.encode_batch(texts)]
    if ours != theirs:
        fail("embedd counts other tokens than the tokenizer of the folder")
    if (lowest := min(worst["embedd"].values())) < MIN_COSINE:
        fail(f"embedd's vectors are not those of sentence-transformers in float32: worst cosine {lowest}, must be at least {MIN_COSINE}")
    return worst


def measure(figures, o, sides, clients, abstracts, queries):
    """clients: for each server, its CLIENTS client processes; the first is the side itself."""
    servers = list(clients)

    def bulk(workload, side, texts, role):
        figures.add(workload, side, len(texts) / sides[side].ask("bulk", texts=texts, role=role))

    def singles(workload, side, children, texts):
        for i, child in enumerate(children):
            first = i * len(texts) // len(children)
            child.send("singles", texts=texts[first:] + texts[:first], seconds=o.seconds)
        answers = [child.result() for child in children]
        latencies = [latency for answer in answers for latency in answer[0]]
        figures.add(workload, side, len(latencies) / (max(a[2] for a in answers) - min(a[1] for a in answers)), latencies)

    def loaded(server, texts, short):
        # The bulk load comes from the second client, the queries from the first.
        clients[server][1].send("load", texts=texts, seconds=o.loaded_seconds + 2 * LEAD)
        time.sleep(LEAD)
        latencies, start, end = clients[server][0].ask("singles", texts=short, seconds=o.loaded_seconds)
        figures.add("loaded_queries", server, len(latencies) / (end - start), latencies)
        figures.add("loaded_bulk", server, clients[server][1].result())

    say("warming up")
    for side in sides:
        for texts, role in ((abstracts[-ST_BATCH:], "document"), (queries[-4 * ST_BATCH :], "query")):
            sides[side].ask("bulk", texts=texts, role=role)
        sides[side].ask("singles", texts=queries, seconds=0.5)
    for round_ in range(o.rounds):
        long, short = part(abstracts, o.abstracts, round_), part(queries, o.queries, round_)
        steps = [
            [(bulk, "abstracts", side, long, "document") for side in sides],
            [(bulk, "queries_bulk", side, short, "query") for side in sides],
            [(singles, "single_1", side, [sides[side]], short) for side in sides] + [(singles, f"single_{CLIENTS}", server, clients[server], short) for server in servers],
            [(loaded, server, long, short) for server in servers],
        ]
        for step in steps:  # another side begins in each round
            first = round_ % len(step)
            for function, *arguments in step[first:] + step[:first]:
                say(f"round {round_ + 1} of {o.rounds}: " + " ".join(a for a in arguments if isinstance(a, str)))
                function(*arguments)


# --- report ----------------------------------------------------------------------------------------------------------


def report(figures, names, servers, head):
    """Prints the table and gives the figures under the names of the last line."""
    out, rates = {}, {}
    peers = [side for side in names if side != "embedd"]
    eight = f"single_{CLIENTS}"

    def row(name, rate, ratios=None, more=""):
        text = f"  {name:<46}{rate:>9.1f}"
        if ratios:
            text += f"{statistics.median(ratios):>9.2f}   ({min(ratios):.2f} to {max(ratios):.2f})"
        print((text + more).rstrip())

    def latency(workload, side):
        p50, p99 = (figures.percentile(workload, side, p) for p in (50, 99))
        return f"   p50 {p50:.2f} ms, p99 {p99:.2f} ms"

    def head_line(title):
        print(f"\n{title}\n  {'':<46}{'texts/s':>9}{'embedd ÷':>9}   (rounds)")

    for workload, title in (("abstracts", head["abstracts"]), ("queries_bulk", head["queries"])):
        head_line(title)
        rates[workload] = {side: round(figures.rate(workload, side), 2) for side in names}
        row(names["embedd"], figures.rate(workload, "embedd"))
        for peer in peers:
            ratios = figures.ratios(workload, "embedd", workload, peer)
            out[f"{workload}_ratio_{peer}"] = round(statistics.median(ratios), 3)
            row(names[peer], figures.rate(workload, peer), ratios)
    for workload, title in (("single_1", head["single_1"]), (eight, head["single_8"])):
        head_line(title)
        rates[workload] = {side: round(figures.rate(workload, side), 2) for side in figures.rates[workload]}
        row(names["embedd"], figures.rate(workload, "embedd"), more=latency(workload, "embedd"))
        for peer in peers:
            theirs = workload if peer in servers else "single_1"
            ratios = figures.ratios(workload, "embedd", theirs, peer)
            number = workload.removeprefix("single_")
            out[f"single_ratio_{number}_{peer}"] = round(statistics.median(ratios), 3)
            row(names[peer], figures.rate(theirs, peer), ratios, latency(theirs, peer))
        out[f"single_ratio_{workload.removeprefix('single_')}"] = out[f"single_ratio_{workload.removeprefix('single_')}_fp32"]
    print(f"\n{head['loaded']}")
    for server in servers:
        bulk = figures.rate("loaded_bulk", server)
        n = len(figures.latencies["loaded_queries"][server])
        print(f"  {names[server]:<46}{latency('loaded_queries', server).strip()} of {n} queries; {bulk:.1f} abstracts/s meanwhile")
        rates.setdefault("loaded_bulk", {})[server] = round(bulk, 2)
    for workload, prefix in (("single_1", "single_1"), (eight, eight), ("loaded_queries", "loaded")):
        for side in figures.latencies[workload]:
            end = "" if side == "embedd" else f"_{side}"
            for p in (50, 99):
                out[f"{prefix}_p{p}_ms{end}"] = round(figures.percentile(workload, side, p), 3)
    out["loaded_queries"] = len(figures.latencies["loaded_queries"]["embedd"])
    return {**out, "texts_per_second": rates}


def options():
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], epilog="Example: bench/encoder/run.py path/to/scifact --rounds 3")
    p.add_argument("corpus", help="JSONL file of papers or BEIR folder")
    p.add_argument("-n", "--abstracts", type=int, default=512, metavar="N", help="abstracts of a round (512)")
    p.add_argument("--queries", type=int, default=1024, metavar="N", help=f"queries of {QUERY_TOKENS} tokens of a round (1024)")
    p.add_argument("--rounds", type=int, default=5, metavar="N", help="rounds, each of which measures every side (5)")
    p.add_argument("--seconds", type=float, default=3, metavar="S", help="of single queries, for each side and round (3)")
    p.add_argument("--loaded-seconds", type=float, default=10, metavar="S", help="of queries under bulk load, for each round (10)")
    p.add_argument("--call", type=int, default=64, metavar="N", help="texts of a bulk call to embedd (64)")
    p.add_argument("--peers", default=",".join(PEERS), metavar="A,B", help=f"which of {', '.join(PEERS)}; fp32 is always there")
    p.add_argument("--tei", metavar="URL", help="a running text-embeddings-inference with the same model, on this machine")
    p.add_argument("--model", default="all-MiniLM-L6-v2", metavar="ID", help="embedd's model (all-MiniLM-L6-v2)")
    p.add_argument("--folder", type=Path, metavar="DIR", help="the model's Hugging Face folder; default: the one embedd's graph was written from")
    p.add_argument("--home", type=Path, default=os.environ.get("EMBEDD_HOME") or ROOT / ".embedd", metavar="DIR", help="embedd's home folder (.embedd)")
    p.add_argument("--embedd", type=Path, metavar="FILE", help="embedd's binary; default: bin/embedd, built anew")
    p.add_argument("--venv", type=Path, metavar="DIR", help="virtual environment of the peers; default: bench in the home folder")
    o = p.parse_args()
    for name, least in (("abstracts", 1), ("queries", 1), ("rounds", 1), ("call", 1), ("seconds", 0.1), ("loaded_seconds", 0.1)):
        if getattr(o, name) < least:
            fail(f"--{name.replace('_', '-')}: is {getattr(o, name)}; must be at least {least}")
    chosen = {"fp32", *filter(None, o.peers.split(","))}
    if unknown := chosen - set(PEERS):
        fail(f"--peers: {', '.join(sorted(unknown))} is not one of {', '.join(PEERS)}")
    o.peers = [peer for peer in PEERS if peer in chosen]
    o.home = o.home.absolute()
    o.venv = o.venv or o.home / "bench"
    return o


def main():
    o = options()
    enter_venv(o.venv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="true", OMP_NUM_THREADS=str(cores()), EMBEDD_HOME=str(o.home))
    try:
        with contextlib.ExitStack() as stack:
            run(o, stack)
    except KeyboardInterrupt:
        say("\nstopped")
        sys.exit(130)
    except RuntimeError as e:
        fail(e)


def run(o, stack):
    from tokenizers import Tokenizer

    load, threads, (cpu_name, flags) = os.getloadavg()[0], cores(), cpu()
    if load > 0.3 * threads:
        say(f"the load average is {load:.1f} on {threads} cores: something else is running, and figures will be off")
    scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-encoder-")))
    if not o.embedd:
        say("building embedd")
        o.embedd = ROOT / "bin" / "embedd"
        if subprocess.run(["go", "build", "-o", str(o.embedd), "./cmd/embedd"], cwd=ROOT, stdout=sys.stderr).returncode != 0:
            fail("embedd could not be built; run make setup first")
    if not (o.home / "models" / o.model / "manifest.json").exists():
        fail(f"model {o.model} is not in {o.home}/models; run make setup, or bin/embedd models pull {o.model}")
    source = o.folder or find_folder(o.home / "models", o.model)

    abstracts = read_corpus(o.corpus)
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    queries = cut(tokenizer, abstracts, QUERY_TOKENS)
    if len(abstracts) < CHECKED or len(queries) < CHECKED:
        fail(f"{o.corpus}: {len(abstracts)} papers, {len(queries)} of at least {QUERY_TOKENS} tokens; needs {CHECKED}")

    say("writing the peers' graphs")
    folder = prepare_folder(source, scratch, o.peers, shutil.which("text-embeddings-router") and not o.tei)
    stubs = compile_stubs(scratch)
    say("starting embedd and its peers")
    address = start_embedd(stack, o.embedd.absolute(), o.model, threads, scratch)
    tei = o.tei or start_tei(stack, folder, scratch)

    def child(what, **arguments):
        c = Child(what, **arguments)
        stack.callback(c.stop)
        return c

    clients = {"embedd": [child("grpc", address=address, stubs=stubs, size=o.call) for _ in range(CLIENTS)]}
    sides = {"embedd": clients["embedd"][0]}
    sides.update({kind: child("st", kind=kind, folder=folder, threads=threads) for kind in o.peers})
    if tei:
        clients["tei"] = [child("tei", url=tei) for _ in range(CLIENTS)]
        sides["tei"] = clients["tei"][0]
    about = {name: c.result() for name, c in sides.items()}
    for server in clients.values():
        for c in server[1:]:
            c.result()
    embedd, limit = about["embedd"], about["embedd"]["max_tokens"]
    for name, a in about.items():
        if a["max_tokens"] != limit:
            fail(f"{name} reads {a['max_tokens']} tokens, embedd {limit}")
    names = {"embedd": f"embedd {embedd['precision']}, gRPC"} | {kind: PEERS[kind] for kind in o.peers}
    if tei:
        names["tei"] = f"text-embeddings-inference {about['tei']['version']} {about['tei']['dtype']}, HTTP"

    say("comparing vectors")
    worst = check_vectors(sides, abstracts[:CHECKED], queries[:CHECKED], tokenizer)
    figures = Figures()
    measure(figures, o, sides, clients, abstracts, queries)

    used = [text for round_ in range(o.rounds) for text in part(abstracts, o.abstracts, round_)]
    tokens = statistics.mean(min(limit, len(e.ids)) for e in tokenizer.encode_batch(used))
    print(f"{cpu_name}, {threads} threads each ({', '.join(flags)})")
    print(f"{embedd['model']}, {embedd['precision']}, at most {limit} tokens; worst cosine to fp32 {min(worst['embedd'].values()):.4f}; {o.rounds} rounds")
    head = {
        "abstracts": f"Abstracts in bulk, {o.abstracts} a round, {tokens:.0f} tokens on average",
        "queries": f"Queries in bulk, {o.queries} a round, {QUERY_TOKENS} tokens",
        "single_1": "Single queries, one client; sentence-transformers one by one in the process",
        "single_8": f"Single queries, {CLIENTS} clients; sentence-transformers as above",
        "loaded": "Single queries, one client, while a bulk load saturates the server",
    }
    result = report(figures, names, list(clients), head)
    result.update(
        worst_cosine=worst,
        abstracts=o.abstracts,
        abstract_tokens=round(tokens, 1),
        queries=o.queries,
        query_tokens=QUERY_TOKENS,
        rounds=o.rounds,
        threads=threads,
        cpu=cpu_name,
        cpu_flags=flags,
        torch_cpu_capability=about["fp32"]["torch_cpu_capability"],
        load_average_before=round(load, 2),
        embedd=embedd,
        tei=about.get("tei"),
        versions=versions(),
    )
    print(f"\n{json.dumps(result)}")


if __name__ == "__main__":
    main()
