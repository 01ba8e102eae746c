"""Reads tables of embedd export with the programs that people read them with. truth.jsonl is what embedd itself says of the papers."""

import json

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow.parquet as pq

TEXTS = ["id", "title", "abstract", "venue", "doi", "arxiv_id", "url"]
COLUMNS = ["id", "title", "abstract", "authors", "year", "venue", "doi", "arxiv_id", "url", "metadata", "expires"]

with open("truth.jsonl", encoding="utf-8") as f:
    truth = [json.loads(line) for line in f]
vectors = np.array([paper["vector"] for paper in truth], dtype=np.float32)
ids = [paper["id"] for paper in truth]


def missing(value):
    return value is None or (isinstance(value, float) and np.isnan(value)) or value is pd.NA


def same(where, rows, lists=True):
    """rows are dicts; lists: columns of lists are lists, and not JSON."""
    assert len(rows) == len(truth), (where, len(rows))
    for row, paper in zip(rows, truth):
        assert [name for name in row if name != "vector"] == COLUMNS, (where, list(row))
        for name in COLUMNS:
            got, want = row[name], paper.get(name)
            if missing(got) or (not lists and got == ""):
                got = None
            if got is not None and name == "authors":
                got = list(got) if lists else json.loads(got)
            if got is not None and name == "metadata" and isinstance(got, str):
                got = json.loads(got)
            if got is not None and name == "year":
                got = int(got)
            assert got == want, (where, paper["id"], name, got, want)


def same_vectors(where, got_ids, got):
    assert list(got_ids) == ids, where
    got = np.array([np.asarray(v, dtype=np.float32) for v in got])
    assert got.shape == vectors.shape and (got == vectors).all(), (where, got.shape)


def query(text):
    got = duckdb.sql(text)
    return [dict(zip(got.columns, row)) for row in got.fetchall()]


# Parquet, whose types are in the file.
for file in "papers.parquet", "both.parquet":
    same(f"pandas, {file}", pd.read_parquet(file).to_dict("records"))
    same(f"polars, {file}", pl.read_parquet(file).to_dicts())
    same(f"duckdb, {file}", query(f"SELECT * FROM '{file}'"))
schema = pq.read_schema("both.parquet")
assert str(schema.field("vector").type) == "list<element: float not null>" and str(schema.field("authors").type) == "list<element: string not null>", schema
assert str(schema.field("year").type) == "int32" and all(str(schema.field(name).type) == "string" for name in [*TEXTS, "metadata", "expires"]), schema
assert pq.read_metadata("both.parquet").created_by == "embedd"

# A condition is asked of the statistics in the file before any row is read.
for paper in truth:
    assert [p["id"] for p in pq.read_table("papers.parquet", filters=[("id", "==", paper["id"])]).to_pylist()] == [paper["id"]], paper["id"]
    assert pl.scan_parquet("papers.parquet").filter(pl.col("id") == paper["id"]).collect().height == 1, paper["id"]
    assert len(duckdb.execute("SELECT id FROM 'papers.parquet' WHERE id = ?", [paper["id"]]).fetchall()) == 1, paper["id"]
    if "title" in paper:
        assert pl.scan_parquet("papers.parquet").filter(pl.col("title") == paper["title"]).collect().height >= 1, paper["id"]

# CSV and TSV, in which all is text.
for file, sep in ("papers.csv", ","), ("papers.tsv", "\t"), ("papers.csv.gz", ","), ("papers.tsv.zst", "\t"):
    same(f"pandas, {file}", pd.read_csv(file, sep=sep, dtype=str, keep_default_na=False, encoding="utf-8").to_dict("records"), lists=False)
    same(f"polars, {file}", pl.read_csv(file, separator=sep, infer_schema=False).to_dicts(), lists=False)
    same(f"duckdb, {file}", query(f"SELECT * FROM read_csv('{file}', delim='{sep}', quote='\"', escape='\"', header=true, all_varchar=true, new_line='\\n', max_line_size=10000000)"), lists=False)

# JSON Lines.
for file in "papers.jsonl", "papers.jsonl.gz", "papers.jsonl.zst":
    rows = pd.read_json(file, lines=True, dtype=False, encoding="utf-8").reindex(columns=COLUMNS).astype(object).to_dict("records")
    same(f"pandas, {file}", rows)
    if not file.endswith(("gz", "zst")):
        got = pl.read_ndjson(file, infer_schema_length=None)
        assert got["id"].to_list() == ids and got["title"].to_list() == [p.get("title") for p in truth] and got["year"].to_list() == [p.get("year") for p in truth]
        assert [None if a is None else list(a) for a in got["authors"].to_list()] == [p.get("authors") for p in truth]
    got = query(f"SELECT id, title, abstract, authors, year FROM read_json('{file}', format='newline_delimited', columns={{id: 'VARCHAR', title: 'VARCHAR', abstract: 'VARCHAR', authors: 'VARCHAR[]', year: 'INTEGER'}})")
    assert got == [{name: p.get(name) for name in ("id", "title", "abstract", "authors", "year")} for p in truth], file

# Vectors.
loaded = np.load("vectors.npy")
assert loaded.dtype == np.float32 and loaded.flags.c_contiguous
with open("vectors.ids.jsonl", encoding="utf-8") as f:
    same_vectors("numpy", [json.loads(line)["id"] for line in f], loaded)
same_vectors("numpy, mapped", ids, np.load("vectors.npy", mmap_mode="r"))
got = pd.read_parquet("vectors.parquet")
same_vectors("pandas", got["id"], got["vector"])
got = pl.read_parquet("vectors.parquet")
same_vectors("polars", got["id"], got["vector"].to_list())
got = query("SELECT * FROM 'vectors.parquet'")
same_vectors("duckdb", [row["id"] for row in got], [row["vector"] for row in got])
got = pl.read_ndjson("vectors.jsonl")
same_vectors("polars, jsonl", got["id"], got["vector"].to_list())
got = pd.read_json("vectors.jsonl", lines=True, dtype=False, precise_float=True)
same_vectors("pandas, jsonl", got["id"], got["vector"])
got = pd.read_parquet("both.parquet")
same_vectors("pandas, papers with vectors", got["id"], got["vector"])
metadata = pq.read_schema("vectors.parquet").metadata
assert metadata[b"model"] == b"all-MiniLM-L6-v2" and len(metadata[b"fingerprint"]) == 64 and metadata[b"dimension"] == b"384", metadata
assert np.allclose(np.linalg.norm(loaded, axis=1), 1, atol=1e-5)

print(f"{len(truth)} papers are the same everywhere")
