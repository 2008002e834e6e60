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
    used = set(re.findall(r"`rag ([a-z-]+)", README))
    assert used - {name.replace("_", "-") for name in names} == set()


def test_every_measuring_command_names_a_file():
    modules = set(re.findall(r"python -m (eval\.[a-z_.]+)", README))
    assert modules
    for module in modules:
        assert (ROOT / (module.replace(".", "/") + ".py")).is_file(), module


def test_the_rows_of_a_batch_are_as_shown():
    from api import batch

    kinds = {"ask": batch.QuestionRow, "read": batch.ReadRow, "check": batch.CheckRow}
    shown = re.findall(r"^(\{.*\}) +rag (ask|read|check)$", README, re.MULTILINE)
    assert [command for _, command in shown] == ["ask", "read", "check"]
    for row, command in shown:
        assert kinds[command].model_validate_json(row).id == 1


def test_every_exit_code_is_named():
    from api.cli import EXIT_CODES

    named = {int(code) for code in re.findall(r"^\| (\d+) \|", README, re.MULTILINE)}
    assert named == {0, 130, *(code for _, code in EXIT_CODES)}


def test_the_question_over_http_has_a_route(tmp_path):
    from api.app import create_app
    from rag.settings import Settings

    path = re.search(r"curl -s http://127\.0\.0\.1:8000(\S+)", README)[1]
    routes = create_app(Settings(home=tmp_path)).openapi()["paths"]
    assert path.replace("handbook", "{kb}") in routes
