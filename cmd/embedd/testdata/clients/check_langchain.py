import openai
import tiktoken
from common import KEY, LONG, MODEL, TEXTS, URL, fails, passed, same, vectors
from langchain_openai import OpenAIEmbeddings


def embeddings(**more):
    return OpenAIEmbeddings(**{"base_url": URL + "/v1", "api_key": KEY, "model": MODEL, "check_embedding_ctx_length": False, "max_retries": 0, **more})


same(embeddings().embed_documents(TEXTS), vectors(TEXTS))
same(embeddings(chunk_size=2).embed_documents(TEXTS), vectors(TEXTS))
same([embeddings(model_kwargs={"extra_body": {"input_type": "query"}}).embed_query(TEXTS[0])], vectors(TEXTS[:1], "ROLE_QUERY"))

fails(openai.BadRequestError, lambda: embeddings().embed_query(LONG), "more than the model reads")
fails(openai.NotFoundError, lambda: embeddings(model="text-embedding-3-small").embed_query("x"), MODEL)
fails(openai.AuthenticationError, lambda: embeddings(api_key="wrong").embed_query("x"))

# With check_embedding_ctx_length, which is its default, it sends token ids of OpenAI's vocabulary. That is not fetched here; bytes stand for it.
tiktoken.get_encoding = lambda name: tiktoken.Encoding(name, pat_str=r".+", mergeable_ranks={bytes([i]): i for i in range(256)}, special_tokens={})
fails(openai.BadRequestError, lambda: embeddings(check_embedding_ctx_length=True).embed_query("x"), "token id")
passed("langchain-openai", "embed_documents in one and several calls, embed_query as a query", "errors: too long, model, key, token ids (check_embedding_ctx_length=True)")
