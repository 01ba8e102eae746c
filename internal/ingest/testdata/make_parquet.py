#!/usr/bin/env python3
"""Writes the samples of Parquet as pandas and Hugging Face write such files: make_parquet.py, with pyarrow 26 or near it."""
import datetime, os, pyarrow as pa, pyarrow.parquet as pq

rows = [
    {"paper_id": "p1", "title": "A table in Parquet", "abstract": "Columns\nof it.", "authors": ["Ada Example", "B. Sample"], "year": 2020,
     "embedding": [0.5, -1.0, 0.25], "lang": "en", "metadata": {"categories": ["cs.CL"], "cited_by": 3, "open": True}, "when": datetime.date(2020, 1, 2)},
    {"paper_id": "p2", "title": "Nothing else", "abstract": None, "authors": None, "year": None, "embedding": None, "lang": None, "metadata": None, "when": None},
    {"paper_id": "p3", "title": "", "abstract": "", "authors": [], "year": 2021, "embedding": None, "lang": "fr", "metadata": None, "when": None},
    {"paper_id": "p4", "title": "The last", "abstract": "ünï", "authors": [None, "C. Example"], "year": 2022, "embedding": [], "lang": "de",
     "metadata": {"categories": [], "cited_by": None, "open": False}, "when": None},
]
schema = pa.schema([("paper_id", pa.string()), ("title", pa.string()), ("abstract", pa.large_string()), ("authors", pa.list_(pa.string())), ("year", pa.int64()),
                    ("embedding", pa.list_(pa.float32())), ("lang", pa.dictionary(pa.int32(), pa.string())),
                    ("metadata", pa.struct([("categories", pa.list_(pa.string())), ("cited_by", pa.int64()), ("open", pa.bool_())])), ("when", pa.date32())])
here = os.path.dirname(os.path.abspath(__file__))
pq.write_table(pa.Table.from_pylist(rows, schema=schema), os.path.join(here, "forms/parquet/papers.parquet"), row_group_size=3, compression="zstd")
whole = [{"id": "t1", "title": "In Parquet", "abstract": "Its abstract"}]
pq.write_table(pa.Table.from_pylist(whole), os.path.join(here, "whole.parquet"), compression="snappy")
