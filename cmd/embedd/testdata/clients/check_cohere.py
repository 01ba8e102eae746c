import math

import cohere
from common import KEY, LONG, TEXTS, URL, call, fails, passed

own = call("/v1/search:rerank", {"query": "graphs", "texts": TEXTS})
model = own["reranker"]
want = [(s.get("index", 0), s["score"]) for s in own["scores"]]


def close(results, want):
    assert [r.index for r in results] == [i for i, _ in want], (results, want)
    assert all(math.isclose(r.relevance_score, s, abs_tol=1e-5) for r, (_, s) in zip(results, want)), (results, want)


v2 = cohere.ClientV2(api_key=KEY, base_url=URL)
close(v2.rerank(model=model, query="graphs", documents=TEXTS).results, want)
best = v2.rerank(model=model, query="graphs", documents=TEXTS, top_n=1, max_tokens_per_doc=100)
close(best.results, want[:1])
assert best.id and best.meta.api_version.version == "2" and len(best.meta.warnings) == 1
assert "documents[0] was cut" in v2.rerank(model=model, query="graphs", documents=[LONG]).meta.warnings[0]

v1 = cohere.Client(api_key=KEY, base_url=URL)
results = v1.rerank(query="graphs", documents=[{"text": t} for t in TEXTS], return_documents=True, rank_fields=["text"]).results
close(results, want)
assert [r.document.text for r in results] == [TEXTS[i] for i, _ in want]

fails(cohere.NotFoundError, lambda: v2.rerank(model="rerank-v3.5", query="x", documents=["y"]), model)
fails(cohere.BadRequestError, lambda: v2.rerank(model=model, query="x", documents=["y", ""]), "documents[1]")
fails(cohere.BadRequestError, lambda: v2.rerank(model=model, query="x", documents=["y"], top_n=0), "top_n")
fails(cohere.UnauthorizedError, lambda: cohere.ClientV2(api_key="wrong", base_url=URL).rerank(model=model, query="x", documents=["y"]))
passed("cohere", "ClientV2.rerank, top_n, warnings", "Client.rerank with objects, return_documents", "errors: model, documents, top_n, key")

# The same scores by text-embeddings-inference's route.
ranks = call("/rerank", {"query": "graphs", "texts": TEXTS, "return_text": True})
assert [(r["index"], r["text"]) for r in ranks] == [(i, TEXTS[i]) for i, _ in want], ranks
