"""The official OpenAI client for Python against running clusters.

python openai_client.py URL GUARDED-URL, with COMPAT_KEY in the environment; ./run starts the
clusters and calls it if COMPAT_PYTHON is set.
"""

import asyncio
import os
import sys
import traceback
from typing import Literal

import openai
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

URL, GUARDED = sys.argv[1:3]
MODEL = "conclave-demo-moe"
QUESTION = {
    "model": MODEL,
    "temperature": 0,
    "messages": [{"role": "user", "content": "What is 17 + 25?"}],
}
# The demo model never learnt to call functions or to write JSON: it is asked without thinking.
PLAIN = {"extra_body": {"enable_thinking": False}, "max_tokens": 300}


def connect(kind=OpenAI, url=URL, key="unused", **options):
    return kind(base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=60, **options)


client = connect()


class Verdict(BaseModel):
    """An answer without a text of free length, which a small model would never end."""

    answer: Literal["yes", "no", "maybe"]
    sure: bool


JUDGE = {
    "type": "function",
    "function": {
        "name": "judge",
        "description": "judge",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"answer": {"type": "string", "enum": ["yes", "no"]}},
            "required": ["answer"],
            "additionalProperties": False,
        },
    },
}


def rejects(error, call):
    try:
        call()
    except error as err:
        return err
    raise AssertionError(f"no {error.__name__}")


def models():
    assert [m.id for m in client.models.list()] == [MODEL]
    assert client.models.retrieve(MODEL).id == MODEL


def chat():
    answer = client.chat.completions.create(**QUESTION)
    assert "42" in answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"


def chat_stream():
    plain = client.chat.completions.create(**QUESTION)
    text, usage = "", None
    with client.chat.completions.create(
        **QUESTION, stream=True, stream_options={"include_usage": True}
    ) as stream:
        for chunk in stream:
            usage = chunk.usage or usage
            for choice in chunk.choices:
                text += choice.delta.content or ""
    assert text == plain.choices[0].message.content
    assert usage == plain.usage


def chat_stream_helper():
    with client.chat.completions.stream(**QUESTION) as stream:
        for _ in stream:
            pass
        final = stream.get_final_completion()
    assert "42" in final.choices[0].message.content


def chat_raw_response():
    raw = client.chat.completions.with_raw_response.create(**QUESTION)
    assert raw.headers.get("x-request-id")
    assert "42" in raw.parse().choices[0].message.content


def chat_async():
    async def ask():
        async with connect(AsyncOpenAI) as c:
            answers = await asyncio.gather(
                *(c.chat.completions.create(**QUESTION) for _ in range(8))
            )
        return {a.choices[0].message.content for a in answers}

    assert len(asyncio.run(ask())) == 1


def chat_logprobs_n_stop():
    answer = client.chat.completions.create(
        **QUESTION, n=2, logprobs=True, top_logprobs=2, stop=["42"]
    )
    assert [c.index for c in answer.choices] == [0, 1]
    for choice in answer.choices:
        assert "42" not in choice.message.content
        assert all(len(t.top_logprobs) == 2 for t in choice.logprobs.content)


def completions():
    answer = client.completions.create(
        model=MODEL, prompt=["One", "Two"], max_tokens=5, logprobs=1, echo=True
    )
    assert [c.index for c in answer.choices] == [0, 1]
    assert answer.choices[0].text.startswith("One")


def structured():
    answer = client.chat.completions.parse(**QUESTION, **PLAIN, response_format=Verdict)
    assert isinstance(answer.choices[0].message.parsed, Verdict)


def structured_stream():
    with client.chat.completions.stream(**QUESTION, **PLAIN, response_format=Verdict) as stream:
        final = stream.get_final_completion()
    assert isinstance(final.choices[0].message.parsed, Verdict)


def strict_function():
    answer = client.chat.completions.parse(
        **QUESTION,
        **PLAIN,
        tools=[JUDGE],
        tool_choice={"type": "function", "function": {"name": "judge"}},
    )
    call = answer.choices[0].message.tool_calls[0]
    assert call.function.name == "judge"
    assert call.function.parsed_arguments["answer"] in ("yes", "no")


def responses():
    response = client.responses.create(model=MODEL, temperature=0, input="What is 17 + 25?")
    assert "42" in response.output_text
    assert client.responses.retrieve(response.id).output_text == response.output_text
    client.responses.delete(response.id)
    rejects(openai.NotFoundError, lambda: client.responses.retrieve(response.id))


def responses_stream():
    text = ""
    with client.responses.stream(model=MODEL, temperature=0, input="What is 17 + 25?") as stream:
        for event in stream:
            if event.type == "response.output_text.delta":
                text += event.delta
        final = stream.get_final_response()
    assert text == final.output_text and "42" in text


def responses_structured():
    response = client.responses.parse(
        model=MODEL,
        temperature=0,
        input="What is 17 + 25?",
        max_output_tokens=300,
        extra_body={"enable_thinking": False},
        text_format=Verdict,
    )
    assert isinstance(response.output_parsed, Verdict)


def bad_request():
    err = rejects(
        openai.BadRequestError,
        lambda: client.chat.completions.create(**{**QUESTION, "temperature": -1}),
    )
    assert err.param == "temperature" and err.status_code == 400 and err.request_id


def not_found():
    err = rejects(
        openai.NotFoundError,
        lambda: client.chat.completions.create(**{**QUESTION, "model": "gpt-4o"}),
    )
    assert err.code == "model_not_found"


def wrong_key():
    guarded = connect(url=GUARDED, key="wrong")
    err = rejects(openai.AuthenticationError, guarded.models.list)
    assert err.code == "invalid_api_key"


def right_key():
    guarded = connect(url=GUARDED, key=os.environ["COMPAT_KEY"])
    assert "42" in guarded.chat.completions.create(**QUESTION).choices[0].message.content


def too_many():
    async def flood():
        async with connect(AsyncOpenAI, GUARDED, os.environ["COMPAT_KEY"]) as c:
            asked = (
                c.chat.completions.create(
                    **QUESTION, max_tokens=200, extra_body={"ignore_eos": True}
                )
                for _ in range(12)
            )
            return await asyncio.gather(*asked, return_exceptions=True)

    answers = asyncio.run(flood())
    refused = [a for a in answers if isinstance(a, openai.RateLimitError)]
    assert refused and len(refused) < len(answers)
    assert all(a in refused or not isinstance(a, Exception) for a in answers)


CASES = [
    models, chat, chat_stream, chat_stream_helper, chat_raw_response, chat_async,
    chat_logprobs_n_stop, completions, structured, structured_stream, strict_function, responses,
    responses_stream, responses_structured, bad_request, not_found, wrong_key, right_key, too_many,
]


def main():
    failed = 0
    for case in CASES:
        try:
            case()
            print(f"ok    python: {case.__name__}")
        except Exception:
            failed += 1
            print(f"FAIL  python: {case.__name__}\n{traceback.format_exc()}")
    print(f"{len(CASES) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
