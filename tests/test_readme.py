import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_path_of_whats_where_exists():
    table = README[README.index("## What's where") :]
    paths = re.findall(r"^\| (`[^|]+`) \|", table, re.MULTILINE)
    named = [path for cell in paths for path in re.findall(r"`([^`]+)`", cell)]
    assert len(named) > 10
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_command_of_the_table_exists():
    from api.cli import app

    names = {command.name or command.callback.__name__ for command in app.registered_commands}
    names |= {group.name for group in app.registered_groups}
    used = set(re.findall(r"`rag ([a-z]+)", README))
    assert used - names == set()


def test_every_measuring_command_names_a_file():
    modules = set(re.findall(r"python -m (eval\.[a-z_.]+)", README))
    assert modules
    for module in modules:
        assert (ROOT / (module.replace(".", "/") + ".py")).is_file(), module
