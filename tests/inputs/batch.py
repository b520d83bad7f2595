#!/usr/bin/env python3
"""The batch-request format through the real program: every result fits the published schema (batch_schema.json), says the
same as our own form of the same request, and does not depend on layout, order or neighbours.

    tests/inputs/batch.py build/trireme"""
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "testkit"))
from tiny_runs import Checks, Tiny

with open(os.path.join(HERE, "batch_schema.json"), encoding="utf-8") as schema_file:
    SCHEMA = json.load(schema_file)
TYPES = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "null": type(None)}


def faults(value, schema, where="$"):
    """What of the schema a value breaks, as texts; [] when it fits."""
    schema = SCHEMA[schema["$ref"]] if "$ref" in schema else schema
    types = schema.get("type", [])
    types = types if isinstance(types, list) else [types]
    if not any(isinstance(value, TYPES[t]) and not (isinstance(value, bool) and t in ("integer", "number")) for t in types):
        return [f"{where} is {value!r}, not {' or '.join(types)}"]
    if "enum" in schema and value not in schema["enum"]:
        return [f"{where} is {value!r}, not one of {schema['enum']}"]
    found = []
    if isinstance(value, dict):
        found += [f"{where} has no {key}" for key in schema.get("required", []) if key not in value]
        for key, item in value.items():
            rule = schema.get("properties", {}).get(key) or schema.get("additionalProperties")
            found += faults(item, rule, f"{where}.{key}") if rule else []
    elif isinstance(value, list) and "items" in schema:
        for i, item in enumerate(value):
            found += faults(item, schema["items"], f"{where}[{i}]")
    return found


def line_faults(line, url):
    found = faults(line, SCHEMA["BatchRequestOutput"])
    response = line["response"]
    kind = {"/v1/chat/completions": "CreateChatCompletionResponse", "/v1/completions": "CreateCompletionResponse"}
    name = kind[url] if response["status_code"] == 200 else "ErrorResponse"
    return found + faults(response["body"], SCHEMA[name], name)


HI = [{"role": "system", "content": "s"}, {"role": "user", "content": "Who are you?"}]
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
# (url, body, the same request in our own form or None)
REQUESTS = [
    (CHAT, {"model": "m", "messages": HI, "max_tokens": 5}, {"messages": HI, "max_tokens": 5}),
    (CHAT, {"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}],
            "max_completion_tokens": 4}, {"messages": [{"role": "user", "content": "a\nb"}], "max_tokens": 4}),
    (CHAT, {"model": "m", "messages": HI, "max_tokens": 6, "temperature": 0.8, "top_p": 0.9, "seed": 4, "stop": ["q"], "n": 1, "user": "u"},
     {"messages": HI, "max_tokens": 6, "temperature": 0.8, "top_p": 0.9, "seed": 4, "stop": ["q"]}),
    (CHAT, {"model": "m", "messages": HI, "max_tokens": 3, "logprobs": True, "top_logprobs": 2}, None),
    (CHAT, {"messages": HI, "max_tokens": 0}, {"messages": HI, "max_tokens": 0}),
    (TEXT, {"model": "m", "prompt": "Once upon", "max_tokens": 7, "ignore_eos": True}, {"prompt": "Once upon", "max_tokens": 7, "ignore_eos": True}),
    (TEXT, {"model": "m", "prompt": ["Once"], "max_tokens": 2, "temperature": None}, {"prompt": "Once", "max_tokens": 2}),
    (TEXT, {"model": "m", "prompt": [5, 6, 7], "max_tokens": 2, "top_k": 5}, {"token_ids": [5, 6, 7], "max_tokens": 2, "top_k": 5}),
    (TEXT, {"model": "m", "prompt": "caf\u00e9", "max_tokens": 8, "logprobs": 3, "ignore_eos": True}, None),
    (TEXT, {"model": "m", "prompt": "a", "n": 3}, None),
    (CHAT, {"model": "m", "messages": []}, None),
]


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def as_requests():
    return [{"custom_id": f"c{i}", "method": "POST", "url": url, "body": body} for i, (url, body, _) in enumerate(REQUESTS)]


def check_schema_check(checks):
    """A schema check that accepts everything would prove nothing."""
    body = {"id": "x", "object": "text_completion", "created": 0, "model": "m", "choices": []}
    schema = SCHEMA["CreateCompletionResponse"]
    checks.equal("the schema check takes a good body", faults(body, schema), [])
    for key, value in [("created", "0"), ("object", "chat.completion"), ("choices", [{}]), ("model", None), ("created", True)]:
        checks.check(f"the schema check refuses {key} {value!r}", faults({**body, key: value}, schema))
    checks.check("the schema check misses a key", faults({k: v for k, v in body.items() if k != "id"}, schema))


def check_results(checks, tiny, model):
    done, out = tiny.corpus("batch", lines(as_requests()), model)
    checks.equal("exit code with refused requests", done.returncode, 76)
    results = [json.loads(line) for line in out.splitlines()]
    checks.equal("one result a request, in order", [r["custom_id"] for r in results], [f"c{i}" for i in range(len(REQUESTS))])
    ids = [r["id"] for r in results]
    checks.equal("every result has an id of its own", len(set(ids)), len(ids))
    for result, (url, body, _) in zip(results, REQUESTS):
        checks.equal(f"{result['custom_id']}: the published schema", line_faults(result, url), [])
        if result["response"]["status_code"] == 200:
            checks.equal(f"{result['custom_id']}: the model's name", result["response"]["body"]["model"], body.get("model", ""))

    own = [{"id": f"c{i}", **ours} for i, (_, _, ours) in enumerate(REQUESTS) if ours]
    _, out = tiny.corpus("own", lines(own), model)
    by_id = {r["custom_id"]: r["response"]["body"] for r in results}
    for ours in map(json.loads, out.splitlines()):
        theirs = by_id[ours["id"]]
        choice = theirs["choices"][0]
        text = choice["text"] if "text" in choice else choice["message"]["content"]
        checks.equal(f"{ours['id']}: text, end and counts as in our own form",
                     (text, choice["finish_reason"], theirs["usage"]["prompt_tokens"], theirs["usage"]["completion_tokens"]),
                     (ours["text"], ours["finish_reason"], *ours["usage"].values()))

    chat, text = by_id["c3"]["choices"][0]["logprobs"], by_id["c8"]["choices"][0]["logprobs"]
    checks.equal("log-probs of a chat: one a token, two alternatives each", [len(t["top_logprobs"]) for t in chat["content"]],
                 [2] * by_id["c3"]["usage"]["completion_tokens"])
    count = by_id["c8"]["usage"]["completion_tokens"]
    checks.equal("log-probs of a completion: four lists alike", [len(text[k]) for k in sorted(text)], [count] * 4)
    checks.equal("refused: the field is named", [by_id[c]["error"]["param"] for c in ("c9", "c10")], ["n", "messages"])


def check_layouts(checks, tiny, model):
    """The extras in both forms, mixed, on one rank and on others: equal bytes."""
    rows = [row for i, request in enumerate(as_requests()) for row in (request, {"id": i, "prompt": f"p {i}", "max_tokens": 3})]
    extras = ["--tokens", "--digest", "--logprobs", "1", "--prompt-logprobs", "0"]
    _, expected = tiny.corpus("one", lines(rows), model, *extras)
    results = [json.loads(line) for line in expected.splitlines()]
    checks.equal("rows of both forms in one file, each answered in its own", ["response" in r for r in results], [True, False] * len(REQUESTS))
    choice = results[0]["response"]["body"]["choices"][0]
    checks.check("--tokens, --digest and --prompt-logprobs stand in the choice",
                 len(choice["digest"]) == 16 and choice["token_ids"] and choice["prompt_logprobs"][0] is None, choice)
    for result, (url, _, _) in zip(results[::2], REQUESTS):
        checks.equal(f"{result['custom_id']} with extras: the published schema", line_faults(result, url), [])
    for ranks, options in [(1, ["--max-seqs", "1"]), (2, ["--dp", "2"]), (2, ["--tp", "2", "--max-step-tokens", "7"]), (3, ["--pp", "3"])]:
        _, seen = tiny.corpus("other", lines(rows), model, *extras, *options, ranks=ranks)
        checks.check(f"{ranks} ranks {' '.join(options)}: the same bytes", seen == expected)
    _, alone = tiny.corpus("alone", lines(rows[:1]), model, *extras)
    checks.equal("alone in a file: the same answer", json.loads(alone)["response"]["body"]["choices"], results[0]["response"]["body"]["choices"])


def main():
    checks = Checks()
    with Tiny(os.path.dirname(os.path.abspath(sys.argv[1]))) as tiny:
        model = tiny.model("tiny", "--layers", "3")
        check_schema_check(checks)
        check_results(checks, tiny, model)
        check_layouts(checks, tiny, model)
    checks.end()


if __name__ == "__main__":
    main()
