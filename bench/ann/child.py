"""Engines, each in a child process that speaks JSON lines: worker/main.go for those in Go, peers.py for the others."""

import base64
import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path

import numpy

HERE = Path(__file__).resolve().parent
MISSING = 0xFFFFFFFF  # an id that an answer lacks

# The names that --engines takes, and what of them the worker is told. The modes of embedd's memory are engines too.
ENGINES = {
    "embedd": {"engine": "embedd", "memory": "residual"},
    "embedd_fast": {"engine": "embedd", "memory": "fast"},
    "embedd_lean": {"engine": "embedd", "memory": "lean"},
    "embedd_bit": {"engine": "embedd", "memory": "fast", "bit": True},
    "first": {"engine": "first"},
    **{name: {"engine": name} for name in ("hnswlib", "faiss", "faiss_sq8", "faiss_pq", "usearch", "usearch_bf16", "usearch_i8", "faiss_flat")},
}
IN_GO = ("embedd", "embedd_fast", "embedd_lean", "embedd_bit", "first")
# What is tried beside ef; the best of them at each recall counts.
VARIANTS = {engine: [{"k_factor": f} for f in (1.5, 2, 4, 8)] for engine in ("faiss_sq8", "faiss_pq")}


class Child:
    def __init__(self, name, worker, vectors):
        self.name, self.buffer, self.peak = name, b"", 0
        command = [str(worker)] if name in IN_GO else [sys.executable, str(HERE / "peers.py")]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.about = self.ask("load", file=str(vectors.path), dim=vectors.all.shape[1])

    def ask(self, op, watch=False, **arguments):
        """Sends a request and waits for the answer; with watch, the most memory of the child meanwhile is kept in peak."""
        try:
            self.process.stdin.write(json.dumps({"op": op, **arguments}).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # its end is noticed below
        out = self.process.stdout.fileno()
        while b"\n" not in self.buffer:
            if watch and not select.select([out], [], [], 0.05)[0]:
                self.peak = max(self.peak, self.memory())
                continue
            more = os.read(out, 1 << 20)
            if not more:
                raise RuntimeError(f"{self.name} ended in {op} with status {self.process.wait()}; see above")
            self.buffer += more
        line, _, self.buffer = self.buffer.partition(b"\n")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"{self.name}: {answer['error']}")
        return answer

    def memory(self, kinds=("RssAnon", "RssShmem")):
        """Resident bytes, without pages of mapped files."""
        with open(f"/proc/{self.process.pid}/status") as f:
            fields = dict(line.split(":", 1) for line in f)
        return sum(1024 * int(fields[kind].split()[0]) for kind in kinds)

    def huge(self):
        """Resident bytes in huge pages."""
        with open(f"/proc/{self.process.pid}/smaps_rollup") as f:
            return next((1024 * int(line.split()[1]) for line in f if line.startswith("AnonHugePages")), 0)

    def search(self, vectors, k, queries=0, **how):
        answer = self.ask("search", queries=vectors.span(queries or len(vectors.queries)), k=k, **how)
        answer["ids"] = labels(answer["ids"], k)
        return answer

    def build(self, vectors, n, threads, m, ef_construction, **more):
        """Builds an index; gives what it cost."""
        before = self.memory()
        files = self.memory(["RssFile"])
        self.peak = before
        cost = self.ask("build", watch=True, n=n, threads=threads, m=m, ef_construction=ef_construction, **ENGINES[self.name], **more)
        self.ask("settle")
        after = self.memory()
        calibrate = self.ask("calibrate", **more) if ENGINES[self.name]["engine"] == "embedd" else {"cpu_ns": 0}  # not part of the build
        return {
            "time": time.strftime("%Y-%m-%d %H:%M"),
            "calibrate_cpu_s": calibrate["cpu_ns"] / 1e9,
            "threads": threads,
            "cpu_s": cost["cpu_ns"] / 1e9,
            "wall_s": cost["wall_ns"] / 1e9,
            "bytes_per_vector": (after - before) / n,
            "peak_bytes_per_vector": (max(self.peak, after) - before) / n,
            "file_bytes_per_vector": max(0, self.memory(["RssFile"]) - files) / n,
            "huge_share": self.huge() / max(1, after),
        }

    def stop(self):
        self.process.stdin.close()  # it ends at that
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def labels(encoded, k):
    return numpy.frombuffer(base64.b64decode(encoded), numpy.uint32).astype(numpy.int64).reshape(-1, k)
