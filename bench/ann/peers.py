"""Runs one of the peers in a process of its own: the twin, in Python, of worker/main.go, with the same protocol for the ops
load, build, settle and search, and these: store, restore (of the index, in a file), nearest (exact, of all rows).
"""

import base64
import ctypes
import gc
import json
import mmap
import os
import sys
import time

import numpy


class Hnswlib:
    def build(self, base, threads, m, ef_construction):
        import hnswlib

        self.index = hnswlib.Index(space="ip", dim=base.shape[1])
        self.index.init_index(max_elements=len(base), M=m, ef_construction=ef_construction, random_seed=100)
        self.index.add_items(base, numpy.arange(len(base)), num_threads=threads)

    def search(self, queries, k, ef):
        self.index.set_ef(ef)
        return self.index.knn_query(queries, k=k, num_threads=1)[0]

    def store(self, file):
        self.index.save_index(file)

    def restore(self, file, dim):
        import hnswlib

        self.index = hnswlib.Index(space="ip", dim=dim)
        self.index.load_index(file)


class Faiss:
    """HNSW over float32, or over 8 bits a value or product-quantised codes of 96 bytes, with the best k * k_factor compared again by
    float32."""

    def __init__(self, codes=""):
        import faiss

        self.faiss, self.codes = faiss, codes

    def build(self, base, threads, m, ef_construction):
        faiss = self.faiss
        faiss.omp_set_num_threads(threads)
        if self.codes:
            if self.codes == "sq8":
                graph = faiss.IndexHNSWSQ(base.shape[1], faiss.ScalarQuantizer.QT_8bit, m, faiss.METRIC_INNER_PRODUCT)
            else:  # by the squared distance, which orders unit vectors as the inner product does
                graph = faiss.IndexHNSWPQ(base.shape[1], 96, m)
            self.index = faiss.IndexRefineFlat(graph)
        else:
            self.index = graph = faiss.IndexHNSWFlat(base.shape[1], m, faiss.METRIC_INNER_PRODUCT)
        graph.hnsw.efConstruction = ef_construction
        self.graph = graph
        if self.codes:
            self.index.train(base)
        self.index.add(base)

    def search(self, queries, k, ef, k_factor=1):
        self.faiss.omp_set_num_threads(1)
        self.graph.hnsw.efSearch = ef
        if self.codes:
            self.index.k_factor = k_factor
        return self.index.search(queries, k)[1]

    def store(self, file):
        self.faiss.write_index(self.index, file)

    def restore(self, file, dim):
        self.index = self.faiss.read_index(file)
        self.graph = self.faiss.downcast_index(self.index.base_index) if self.codes else self.index


class FaissFlat:
    def build(self, base, threads, m, ef_construction):
        import faiss

        self.index = faiss.IndexFlatIP(base.shape[1])
        self.index.add(base)

    def search(self, queries, k, ef=0, threads=1):
        import faiss

        faiss.omp_set_num_threads(threads)
        return self.index.search(queries, k)[1]

    def store(self, file):
        import faiss

        faiss.write_index(self.index, file)

    def restore(self, file, dim):
        import faiss

        self.index = faiss.read_index(file)


class Usearch:
    """Its inner product is the better metric for float32, its cosine for the shorter types."""

    def __init__(self, dtype):
        self.dtype = dtype

    def make(self, dim, m, ef_construction):
        from usearch.index import Index

        return Index(ndim=dim, metric="ip" if self.dtype == "f32" else "cos", dtype=self.dtype, connectivity=m, expansion_add=ef_construction)

    def build(self, base, threads, m, ef_construction):
        self.index = self.make(base.shape[1], m, ef_construction)
        self.index.add(numpy.arange(len(base)), base, threads=threads)

    def search(self, queries, k, ef):
        self.index.expansion_search = ef
        return self.index.search(queries, k, threads=1).keys

    def store(self, file):
        self.index.save(file)

    def restore(self, file, dim):
        self.index = self.make(dim, 16, 200)
        self.index.load(file)


PEERS = {
    "hnswlib": Hnswlib,
    "faiss": Faiss,
    "faiss_sq8": lambda: Faiss("sq8"),
    "faiss_pq": lambda: Faiss("pq"),
    "faiss_flat": FaissFlat,
    "usearch": lambda: Usearch("f32"),
    "usearch_bf16": lambda: Usearch("bf16"),
    "usearch_i8": lambda: Usearch("i8"),
}


class Worker:
    def load(self, file, dim):
        with open(file, "rb") as f:
            self.map = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)
        self.data = numpy.frombuffer(self.map, numpy.float32).reshape(-1, dim)
        return {"rows": len(self.data)}

    def build(self, engine, n, threads, m, ef_construction):
        self.index = PEERS[engine]()
        begin = clocks()
        self.index.build(self.data[:n], threads, m, ef_construction)
        return since(begin)

    def settle(self):
        """Gives back what the build left over, and the pages of the vectors that were read."""
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        self.map.madvise(mmap.MADV_DONTNEED)
        return {}

    def search(self, queries, k, seconds=0, **how):
        """All queries in one call, again and again; the first call is not measured."""
        rows = numpy.array(self.data[queries[0] : queries[1]])
        ids = self.index.search(rows, k, **how)
        out = {"passes": 0}
        begin = clocks()
        while seconds and (out["passes"] == 0 or out["wall_ns"] < seconds * 1e9):
            self.index.search(rows, k, **how)
            out["passes"] += 1
            out.update(since(begin))
        return {**out, "ids": base64.b64encode(ids.astype(numpy.uint32).tobytes()).decode()}

    def nearest(self, file, n, k, rows, threads):
        """Writes the k + 1 exact nearest of some rows: all others, and mostly the row itself."""
        data = numpy.array(self.data[:n] if rows is None else self.data[rows])
        begin = clocks()
        ids = self.index.search(data, k + 1, threads=threads)
        took = since(begin)
        ids.astype(numpy.uint32).tofile(file)
        return took

    def store(self, file):
        self.index.store(file)
        return {}

    def restore(self, engine, file, dim):
        self.index = PEERS[engine]()
        self.index.restore(file, dim)
        return {}


def clocks():
    return time.monotonic_ns(), time.process_time_ns(), time.thread_time_ns()


def since(begin):
    return {name: end - start for name, start, end in zip(("wall_ns", "cpu_ns", "thread_ns"), begin, clocks())}


def main():
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints is not an answer
    worker = Worker()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(worker, request.pop("op"))(**request)
        except Exception as e:
            answer = {"error": f"{type(e).__name__}: {e}"}
        print(json.dumps(answer), file=out)


if __name__ == "__main__":
    main()
