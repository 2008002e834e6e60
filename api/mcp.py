"""The knowledge bases as tools for programs that speak the Model Context Protocol."""

import functools
from collections.abc import Callable
from typing import Annotated, Any, ParamSpec

from pydantic import Field

import rag
from api.schemas import Answer, DocumentText, Hit
from api.verdicts import Check
from knowledge_bases.home import Home
from rag.errors import MissingDependency, RagError

try:
    from mcp.server import MCPServer
    from mcp.server.mcpserver.exceptions import ToolError
except ImportError as error:
    raise MissingDependency("rag mcp needs the MCP SDK: pip install 'grounded-rag[mcp]'") from error

ASKER = "mcp"
"""Who the log says asked."""
_MOST_HITS = 50
_MOST_CHARS = 20_000
_INSTRUCTIONS = (
    "Answers from documents, every word traced to its source. `ask` returns an answer that was "
    "verified and logged, or says that the documents don't hold one: then don't make one up. Quote "
    "its text as it is, with its citations. `show_source` gives the text that a citation points to."
)

P = ParamSpec("P")

KnowledgeBase = Annotated[str, Field(description="Its name; list_knowledge_bases has them.")]


def server(home: Home) -> MCPServer:
    """Return a server of the tools over a home.

    Args:
        home: its knowledge bases are all open to whoever speaks to the server.
    """
    made: MCPServer = MCPServer(
        "grounded-rag", version=rag.__version__, instructions=_INSTRUCTIONS, log_level="ERROR"
    )

    @made.tool()
    @_in_one_line
    def list_knowledge_bases() -> dict[str, Any]:
        """List the knowledge bases, with how many documents each holds."""
        names = [row.name for row in home.store.kbs.all()]
        return {
            "knowledge_bases": [
                {"name": name, "documents": home.open(name).counts()["documents"]} for name in names
            ]
        }

    @made.tool()
    @_in_one_line
    def search(
        knowledge_base: KnowledgeBase,
        query: Annotated[str, Field(description="Words to look for.")],
        k: Annotated[int, Field(ge=1, le=_MOST_HITS, description="How many passages.")] = 5,
    ) -> dict[str, Any]:
        """Find the passages of a knowledge base that match a query best; nothing is logged."""
        hits = home.open(knowledge_base).search(query, k=k)
        return {"hits": [Hit.of(passage).model_dump(mode="json") for passage in hits]}

    @made.tool()
    @_in_one_line
    def ask(
        knowledge_base: KnowledgeBase,
        question: Annotated[str, Field(description="One question, as a person would ask it.")],
    ) -> dict[str, Any]:
        """Answer a question from the documents, with citations and a receipt in the log.

        With status "abstained" the documents hold no answer that is certain enough.
        """
        recorded = home.open(knowledge_base).ask(question, asker=ASKER)
        return Answer.recorded(recorded).model_dump(mode="json")

    @made.tool()
    @_in_one_line
    def check(
        claim: Annotated[str, Field(description="What is said.")],
        evidence: Annotated[list[str], Field(description="Texts to judge it by.")],
        question: Annotated[str | None, Field(description="What a short claim answers.")] = None,
    ) -> dict[str, Any]:
        """Judge each sentence of a claim by texts: supported, contradicted or unsupported."""
        checked, _ = home.check(claim, evidence, question, actor=ASKER)
        return Check.of(checked).model_dump(mode="json")

    @made.tool()
    @_in_one_line
    def show_source(
        knowledge_base: KnowledgeBase,
        document: Annotated[str, Field(description="URI of the document, as citations have it.")],
        version: Annotated[int | None, Field(ge=1, description="By default the newest.")] = None,
        start: Annotated[int, Field(ge=0, description="First character.")] = 0,
        end: Annotated[int | None, Field(ge=0, description="The one after the last.")] = None,
    ) -> dict[str, Any]:
        """Show characters [start, end) of a document version, as the citations count them.

        At most 20,000 at a time; `text_chars` is the length of the whole.
        """
        whole = DocumentText.at(home.open(knowledge_base), document, version)
        stop = min(len(whole.text) if end is None else end, start + _MOST_CHARS, len(whole.text))
        return {
            **whole.model_dump(mode="json"),
            "text": whole.text[start:stop],
            "start": start,
            "end": max(start, stop),
            "text_chars": len(whole.text),
        }

    return made


def _in_one_line(tool: Callable[P, dict[str, Any]]) -> Callable[P, dict[str, Any]]:
    """Have a tool's errors told in one line that says what to do."""

    @functools.wraps(tool)
    def told(*args: P.args, **kwargs: P.kwargs) -> dict[str, Any]:
        try:
            return tool(*args, **kwargs)
        except RagError as error:
            raise ToolError(" ".join(str(error).split())) from None

    return told
