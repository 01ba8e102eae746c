import openai
from common import KEY, LONG, MODEL, TEXTS, URL, fails, passed, same, tokens, vectors

client = openai.OpenAI(base_url=URL + "/v1", api_key=KEY, max_retries=0)
create = client.embeddings.create

answer = create(model=MODEL, input=TEXTS)  # it asks for base64 by itself
same([d.embedding for d in answer.data], vectors(TEXTS))
assert [d.index for d in answer.data] == [0, 1, 2] and answer.model == MODEL
assert answer.usage.prompt_tokens == answer.usage.total_tokens == tokens(TEXTS), answer.usage
same([create(model="embedd", input=TEXTS[0], encoding_format="float").data[0].embedding], vectors(TEXTS[:1]))
same([create(model=MODEL, input=TEXTS[0], user="u", extra_body={"input_type": "query"}).data[0].embedding], vectors(TEXTS[:1], "ROLE_QUERY"))
full = len(answer.data[0].embedding)
assert len(create(model=MODEL, input=TEXTS[0], dimensions=full).data[0].embedding) == full
assert len(create(model=MODEL, input=LONG, extra_body={"truncate": True}).data) == 1
assert [m.id for m in client.models.list()] == [MODEL] and client.models.retrieve(MODEL).id == MODEL

fails(openai.BadRequestError, lambda: create(model=MODEL, input=TEXTS, dimensions=full - 1), "dimensions", param="dimensions", status_code=400)
fails(openai.BadRequestError, lambda: create(model=MODEL, input=["good", LONG]), "input[1]", code="context_length_exceeded")
fails(openai.BadRequestError, lambda: create(model=MODEL, input=[1, 2, 3]), "token id", param="input[0]")
fails(openai.BadRequestError, lambda: create(model=MODEL, input=["good", ""]), "blank", param="input[1]")
fails(openai.NotFoundError, lambda: create(model="text-embedding-3-small", input="x"), MODEL, code="model_not_found", param="model")
fails(openai.NotFoundError, lambda: client.models.retrieve("gpt"), MODEL)
fails(openai.AuthenticationError, lambda: openai.OpenAI(base_url=URL + "/v1", api_key="sk-wrong", max_retries=0).embeddings.create(model=MODEL, input="x"), code="invalid_api_key")
fails(openai.AuthenticationError, lambda: openai.OpenAI(base_url=URL + "/v1", api_key="sk-wrong", max_retries=0).models.list(), code="invalid_api_key")
passed("openai", "embeddings.create of one and several, base64 and float, dimensions, input_type, truncate, usage", "models.list, models.retrieve",
       "errors: dimensions, too long, token ids, blank, model, key")
