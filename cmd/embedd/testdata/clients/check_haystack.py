import logging

import openai
from common import KEY, MODEL, TEXTS, URL, fails, passed, same, tokens, vectors
from haystack import Document
from haystack.components.embedders import OpenAIDocumentEmbedder, OpenAITextEmbedder
from haystack.utils import Secret

logging.disable(logging.CRITICAL)  # it writes down what it raises


def made(of, **more):
    return of(**{"api_key": Secret.from_token(KEY), "api_base_url": URL + "/v1", "model": MODEL, "max_retries": 0, **more})


answer = made(OpenAITextEmbedder).run(TEXTS[0])
same([answer["embedding"]], vectors(TEXTS[:1]))
assert answer["meta"]["model"] == MODEL and answer["meta"]["usage"]["prompt_tokens"] == tokens(TEXTS[:1]), answer["meta"]
documents = made(OpenAIDocumentEmbedder, batch_size=2, progress_bar=False).run([Document(content=t) for t in TEXTS])["documents"]
same([d.embedding for d in documents], vectors(TEXTS))

fails(openai.NotFoundError, lambda: made(OpenAITextEmbedder, model="text-embedding-3-small").run("x"), MODEL)
fails(openai.BadRequestError, lambda: made(OpenAIDocumentEmbedder, dimensions=3, progress_bar=False, raise_on_failure=True).run([Document(content="x")]), "dimensions")
fails(openai.AuthenticationError, lambda: made(OpenAITextEmbedder, api_key=Secret.from_token("wrong")).run("x"))
passed("haystack-ai", "OpenAITextEmbedder, OpenAIDocumentEmbedder in two calls, usage", "errors: model, dimensions, key")
