"""The example `batches`, asked by the client library of OpenAI: scripts/openai runs this.

Its argument is where the example listens.
"""

import concurrent.futures
import json
import sys
import urllib.request

import openai

URL = sys.argv[1]
BATCH = {
    "input_file_id": "file-1",
    "endpoint": "/v1/chat/completions",
    "completion_window": "24h",
    "metadata": {"job": "nightly", "team": "a"},
}
client = openai.OpenAI(base_url=f"{URL}/v1", api_key="sk-test")
assert client.max_retries == 2, "by default it sends a request up to three times"


def create(key, **changes):
    body = {"idempotency_key": key}
    return client.batches.create(**{**BATCH, **changes}, extra_body=body)


def server():
    with urllib.request.urlopen(f"{URL}/v1/batches") as response:
        return json.load(response)


def requests(run):
    """How many requests `run` made, and what came of it."""
    before = server()["posts"]
    result = run()
    return server()["posts"] - before, result


def refused(error, **changes):
    try:
        create(**changes)
    except error as refusal:
        return refusal
    raise AssertionError(f"{changes} was not refused")


first = create("k1")
assert create("k1").id == first.id
assert create("k1", metadata={"team": "a", "job": "nightly"}).id == first.id

for changes in (
    {"input_file_id": "file-2"},
    {"metadata": {"job": "nightly", "team": "b"}},
    {"metadata": None},
    {"metadata": {}},
):
    count, conflict = requests(lambda: refused(openai.ConflictError, key="k1", **changes))
    assert conflict.status_code == 409 and "conflict" in str(conflict).lower(), conflict
    assert conflict.code == "idempotency_conflict", conflict.code
    assert count == 1, f"a conflict was asked for {count} times"

create("null", metadata=None)
refused(openai.ConflictError, key="null", metadata={})

refused(openai.BadRequestError, key="k2", completion_window="1h")
assert create("k2").id, "what was refused left its key free"

started = len(server()["data"])
with concurrent.futures.ThreadPoolExecutor(8) as pool:
    batches = list(pool.map(lambda _: create("k3"), range(8)))
assert len({batch.id for batch in batches}) == 1
assert len(server()["data"]) == started + 1

print(f"openai {openai.__version__}: a conflict is told once, and batches start once")
