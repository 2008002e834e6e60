"""The command `rag mcp`: the knowledge bases as tools, over standard input and output."""

from api.commands.shared import HomeOption, settings_for
from knowledge_bases.home import Home


def mcp(home: HomeOption = None) -> None:
    """Serve the tools search, ask, check, show_source and list_knowledge_bases over stdio (MCP).

    For programs that start it themselves; it ends with its standard input. Answers are logged with
    the asker "mcp". Needs the extra [mcp].
    """
    from api.mcp import server  # The SDK is optional.

    with Home(settings_for(home)) as opened:
        opened.audit.start()
        server(opened).run("stdio")
