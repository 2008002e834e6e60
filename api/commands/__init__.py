"""The subcommands of `rag`, a file per group."""
