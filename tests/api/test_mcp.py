"""The tools of `rag mcp`, spoken to over stdio by the SDK's own client."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from api.commands.mcp import mcp as command
from knowledge_bases.home import Home
from rag.errors import MissingDependency
from rag.settings import Settings

mcp = pytest.importorskip("mcp")

TEXT = "The vaccine fridge alarm sounds at 8 degrees. After it the stock is moved in 30 minutes."


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, minilm: Any) -> Path:
    folder = tmp_path_factory.mktemp("mcp")
    (folder / "fridges.txt").write_text(TEXT, encoding="utf-8")
    with Home(Settings(home=folder / "home"), embedder=minilm) as home:
        assert home.create("wards").ingest([folder / "fridges.txt"]).failed == []
    return folder / "home"


def spoken(home: Path, talk: Callable[[Any], Awaitable[None]]) -> None:
    """Start the command, and talk to it."""
    tree = str(Path(__file__).parents[2])
    parameters = mcp.StdioServerParameters(
        command=sys.executable,
        args=["-m", "api.cli", "mcp", "--home", str(home)],
        env={
            **os.environ,
            "PYTHONPATH": tree,
            "RAG_GENERATOR": "extractive",
            "RAG_ANSWER_THRESHOLD": "0.2",
        },
    )

    async def run() -> None:
        with anyio.fail_after(200):
            async with mcp.Client(parameters) as client:
                await talk(client)

    anyio.run(run)


def test_the_tools_over_stdio(filled: Path) -> None:
    async def talk(client: Any) -> None:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == {"list_knowledge_bases", "search", "ask", "check", "show_source"}
        assert all(tool.description for tool in tools.values())

        async def called(name: str, **arguments: Any) -> dict[str, Any]:
            result = await client.call_tool(name, arguments)
            assert not result.is_error, result.content
            found: dict[str, Any] = result.structured_content
            return found

        listed = await called("list_knowledge_bases")
        assert listed == {"knowledge_bases": [{"name": "wards", "documents": 1}]}
        hits = await called("search", knowledge_base="wards", query="fridge alarm", k=3)
        assert hits["hits"][0]["document"]["uri"] == "fridges.txt"
        question = "At how many degrees does the vaccine fridge alarm sound?"
        answer = await called("ask", knowledge_base="wards", question=question)
        assert (answer["status"], "8 degrees" in answer["text"]) == ("answered", True)
        (cited, *_) = answer["citations"]
        place = {"start": cited["start"], "end": cited["end"], "version": cited["version"]}
        shown = await called("show_source", knowledge_base="wards", document="fridges.txt", **place)
        assert shown["text"] == cited["quote"]
        whole = await called("show_source", knowledge_base="wards", document="fridges.txt")
        assert (whole["text"], whole["text_chars"]) == (TEXT, len(TEXT))
        verdict = await called("check", claim="It sounds at 9 degrees.", evidence=[TEXT])
        assert verdict["verdict"] != "supported"
        wrong: list[tuple[str, dict[str, Any], str]] = [
            ("ask", {"knowledge_base": "none", "question": "Why?"}, "no knowledge base 'none'"),
            ("ask", {"knowledge_base": "wards", "question": " "}, "the question holds no words"),
            ("show_source", {"knowledge_base": "wards", "document": "b"}, "'b'"),
            ("search", {"knowledge_base": "wards", "query": "a", "k": 0}, "k"),
        ]
        for name, arguments, said in wrong:
            result = await client.call_tool(name, arguments)
            assert result.is_error, name
            assert said in result.content[0].text
            assert "Traceback" not in result.content[0].text
            if name != "search":
                assert "\n" not in result.content[0].text

    spoken(filled, talk)
    with Home(Settings(home=filled)) as home:
        rows = list(home.store.log.all(kinds=("answer", "check", "refusal"), limit=9))
        named = [
            payload.get("asker") or payload["actor"]
            for payload in map(home.store.log.payload, rows)
            if payload
        ]
        assert len(named) == 3, "the answer, the check and the empty question"
        assert set(named) == {"mcp"}


def test_without_the_sdk_it_says_what_to_install(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mcp.server", None)
    monkeypatch.delitem(sys.modules, "api.mcp", raising=False)
    with pytest.raises(MissingDependency, match=r"pip install 'grounded-rag\[mcp\]'"):
        command(filled)
