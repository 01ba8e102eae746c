from common import KEY, URL, call, fails, passed
from semanticscholar import SemanticScholar
from semanticscholar.SemanticScholarException import BadQueryParametersException, ObjectNotFoundException

client = SemanticScholar(api_url=URL, api_key=KEY, retry=False)
related = call("/v1/related", {"id": "ARXIV:1908.10084", "k": 5})["hits"]
papers = client.get_recommended_papers("ARXIV:1908.10084", limit=5)
assert [p.paperId for p in papers] == [h["paper"]["id"] for h in related], papers
first = papers[0]
assert first.title and first.abstract and first.authors[0].name and first.year and first.externalIds["ArXiv"], first.raw_data
assert first.citationCount is None  # it is not known here
by_doi = client.get_recommended_papers("DOI:10.18653/v1/D19-1410", fields=["title", "year"], limit=5, pool_from="all-cs")
assert [p.paperId for p in by_doi] == [p.paperId for p in papers] and by_doi[0].abstract is None
assert [p.paperId for p in client.get_recommended_papers("URL:https://arxiv.org/abs/1908.10084", limit=5)] == [p.paperId for p in papers]
assert len(client.get_recommended_papers("ARXIV:1908.10084")) == 100

both = client.get_recommended_papers_from_lists(["ARXIV:1908.10084", "ARXIV:2104.08821"], limit=5)
want = call("/v1/recommend", {"positiveIds": ["ARXIV:1908.10084", "ARXIV:2104.08821"], "k": 5})["hits"]
assert [p.paperId for p in both] == [h["paper"]["id"] for h in want], both
assert len(client.get_recommended_papers_from_lists(["ARXIV:1908.10084"], [both[0].paperId], fields=["title"], limit=3)) == 3

fails(ObjectNotFoundException, lambda: client.get_recommended_papers("ARXIV:9999.99999"), "Paper with id ARXIV:9999.99999 not found")
fails(ObjectNotFoundException, lambda: client.get_recommended_papers_from_lists(["nothing"]), "Paper with id nothing not found")
fails(BadQueryParametersException, lambda: client.get_recommended_papers("ARXIV:1908.10084", fields=["titel"]), "titel")
fails(PermissionError, lambda: SemanticScholar(api_url=URL, api_key="wrong", retry=False).get_recommended_papers("ARXIV:1908.10084"), "403")
passed("semanticscholar", "get_recommended_papers by three ids, all fields, fields, limit, pool_from", "get_recommended_papers_from_lists", "errors: paper, field, key")
