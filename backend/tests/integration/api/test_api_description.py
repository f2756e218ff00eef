"""``/openapi.json`` says what the service does: schemathesis sends what the document allows and forbids, and judges."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import pytest_asyncio

from app.api.examples import DECISION, RESULT
from support.faces import TOKEN, Face, paper_face

pytestmark = pytest.mark.asyncio(loop_scope="module")
HERE = Path(__file__).parent
ST = Path(sys.executable).with_name("st")
EXAMPLES = int(os.environ.get("TES_SCHEMATHESIS_EXAMPLES", "8"))
MAX_TIME_S = 20 if EXAMPLES <= 8 else 10 * EXAMPLES
"""A quick look within a test run; ``make soak`` has the time for all of its examples."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def face() -> AsyncIterator[Face]:
    async with paper_face(TES_RISK_COOLDOWN_SECONDS="0") as running:
        yield running


@pytest.mark.long
@pytest.mark.timeout(1800)
async def test_schemathesis_finds_nothing(face: Face, tmp_path: Path) -> None:
    """Every check, against the live service. A failure shows the seed and the request as a curl command."""
    seed = random.randrange(2**32)
    process = await asyncio.create_subprocess_exec(
        ST,
        f"--config-file={HERE / 'schemathesis.toml'}",
        "run",
        f"{face.url}/openapi.json",
        f"--header=Authorization: Bearer {TOKEN}",
        f"--seed={seed}",
        f"--max-examples={EXAMPLES}",
        f"--max-time={MAX_TIME_S}",
        "--no-color",
        "--suppress-health-check=all",
        "--warnings=off",
        "--generation-database=:memory:",
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    print(said.decode())
    assert process.returncode == 0, f"seed {seed}\n{said.decode()}"
    assert (await face.get("/readyz")).status == 200


async def test_every_example_is_valid_and_does_what_it_says() -> None:
    """On a service of its own: the one that schemathesis had is in a state that nobody can foresee."""
    async with paper_face(TES_RISK_COOLDOWN_SECONDS="0") as fresh:
        await _send_every_example(fresh)


async def _send_every_example(face: Face) -> None:
    document = (await face.get("/openapi.json")).json
    result = _validator(document, "ExecutionResult")
    result.validate(dict(RESULT))
    answer = (await face.post("/v1/decisions", dict(DECISION))).json
    result.validate(answer)
    assert answer["results"][0]["status"] == RESULT["results"][0]["status"] == "protected"
    for path, methods in document["paths"].items():
        operation = methods.get("post", {})
        content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
        for name, example in content.get("examples", {}).items():
            if path != "/v1/decisions" or "decision_id" not in example["value"]:
                sent = await face.post(path, example["value"])
                assert sent.status == 200, (path, name, sent.body)


async def test_every_operation_and_parameter_is_explained_and_announces_its_refusals(face: Face) -> None:
    document = (await face.get("/openapi.json")).json
    for path, methods in document["paths"].items():
        for operation in methods.values():
            assert operation["description"], path
            assert operation["tags"], path
            for parameter in operation.get("parameters", ()):
                assert parameter.get("description"), (path, parameter["name"])
            refusals = {status for status in operation["responses"] if status >= "400"}
            if operation.get("security") and path != "/metrics":
                assert {"401", "403"} <= refusals, path
            for status in refusals:
                assert list(operation["responses"][status]["content"]) == ["application/problem+json"], (path, status)


async def test_the_docs_page_needs_no_other_host(face: Face) -> None:
    page = (await face.get("/docs")).body.decode()
    assert "://" not in page
    for name in ("swagger-ui-bundle.js", "swagger-ui.css", "start.js"):
        assert f"docs/{name}" in page
        assert (await face.get(f"/docs/{name}")).status == 200
    assert (await face.get("/docs/favicon.png")).status == 404


async def test_every_answer_has_the_security_headers_and_none_of_cors(face: Face) -> None:
    for path in ("/", "/docs", "/healthz", "/v1/status", "/v1/nothing", "/openapi.json"):
        answer = await face.ask("GET", path, headers={"Origin": "https://example.org"})
        assert answer.headers["X-Content-Type-Options"] == "nosniff", path
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"], path
        assert answer.headers["Referrer-Policy"] == "no-referrer", path
        assert not [name for name in answer.headers if name.lower().startswith("access-control-")], path


async def test_a_page_whose_name_was_bound_to_this_machine_reads_nothing(face: Face) -> None:
    for path in ("/openapi.json", "/metrics", "/docs"):
        assert (await face.ask("GET", path, headers={"Host": "evil.example"})).status == 401


def _validator(document: dict[str, Any], name: str) -> Any:
    return jsonschema_rs.validator_for({**document, "$ref": f"#/components/schemas/{name}"})
