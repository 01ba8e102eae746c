import openai
from common import KEY, MODEL, TEXTS, URL, fails, passed, same, vectors
from llama_index.embeddings.openai import OpenAIEmbedding


def embedding(**more):
    return OpenAIEmbedding(**{"api_base": URL + "/v1", "api_key": KEY, "model_name": MODEL, "max_retries": 0, **more})


want = vectors([t.replace("\n", " ") for t in TEXTS])
same(embedding().get_text_embedding_batch(TEXTS), want)
same(embedding(embed_batch_size=2).get_text_embedding_batch(TEXTS), want)
same([embedding().get_query_embedding(TEXTS[0])], want[:1])
same([embedding(additional_kwargs={"extra_body": {"input_type": "query"}}).get_query_embedding(TEXTS[0])], vectors(TEXTS[:1], "ROLE_QUERY"))

fails(openai.NotFoundError, lambda: embedding(model_name="text-embedding-ada-002").get_text_embedding("x"), MODEL)
fails(openai.BadRequestError, lambda: embedding(dimensions=3).get_text_embedding("x"), "dimensions")
fails(openai.AuthenticationError, lambda: embedding(api_key="wrong").get_text_embedding("x"))
passed("llama-index-embeddings-openai", "get_text_embedding_batch in one and several calls, get_query_embedding, as a query", "errors: model, dimensions, key")
