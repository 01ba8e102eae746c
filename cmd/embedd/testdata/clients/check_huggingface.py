from common import KEY, LONG, TEXTS, URL, fails, passed, same, vectors
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError

embed = InferenceClient(model=URL + "/embed", token=KEY)
same(embed.feature_extraction(TEXTS).tolist(), vectors(TEXTS))
same(embed.feature_extraction(TEXTS[0], normalize=True, prompt_name="query").tolist(), vectors(TEXTS[:1], "ROLE_QUERY"))
assert embed.feature_extraction(LONG, truncate=True, truncation_direction="right").shape == embed.feature_extraction("x").shape
similarity = InferenceClient(model=URL + "/similarity", token=KEY).sentence_similarity(TEXTS[0], other_sentences=TEXTS)
assert len(similarity) == 3 and abs(similarity[0] - 1) < 1e-5 and similarity[1] > similarity[2], similarity

fails(HfHubHTTPError, lambda: embed.feature_extraction(LONG), "422", "truncate")
fails(HfHubHTTPError, lambda: embed.feature_extraction(TEXTS, normalize=False), "422", "normalize")
fails(HfHubHTTPError, lambda: InferenceClient(model=URL + "/embed", token="wrong").feature_extraction("x"), "401")
assert not hasattr(embed, "rerank")  # the client has no such task
passed("huggingface_hub", "feature_extraction of one and several, normalize, prompt_name, truncate", "sentence_similarity", "errors: too long, normalize, key")
