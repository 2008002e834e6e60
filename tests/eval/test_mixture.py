"""Checks the questions that are made to have no answer."""

from __future__ import annotations

from eval.mixture import ANOTHER_NAME, WITHDRAWN, Mixture
from eval.qa_data import Question
from rag.training.decision import ANSWERABLE, MISLEADING


def row(id_: str, title: str, question: str, context: str, *answers: str) -> Question:
    return Question(id_, "squad2", title, question, context, answers)


FALL = row("1", "Wall", "Who saw Berlin in 1989?", "Ada Bell saw Berlin in 1989.", "Ada Bell")
SAME = row("2", "Wall", "Who left?", "Later Ada Bell left.", "Ada Bell")
NONE = row("3", "Wall", "Who saw Paris?", "Ada Bell saw Berlin in 1989.")
OTHER = row("4", "Sea", "Who sailed?", "Carl Dorn sailed from Lisbon in 1750.", "Carl Dorn")
ROWS = [FALL, SAME, NONE, OTHER]


def test_a_question_as_it_is_searches_everything() -> None:
    own, none = Mixture(ROWS).own(FALL), Mixture(ROWS).own(NONE)
    assert (own.kind, none.kind) == (ANSWERABLE, MISLEADING)
    assert own.row.answers == ("Ada Bell",)
    assert own.filters(["a", "b"]).documents == ()


def test_what_holds_the_answer_is_withdrawn_whatever_its_case() -> None:
    shouted = row("5", "Sea", "?", "ADA BELL WAS HERE.")
    gone = Mixture([*ROWS, shouted]).withdrawn(FALL)
    assert (gone.kind, gone.row.answers) == (WITHDRAWN, ())
    uris = sorted({one.context_uri for one in (*ROWS, shouted)})
    assert gone.filters(uris).documents == (OTHER.context_uri,)


def test_another_name_is_none_of_the_article() -> None:
    named = Mixture(ROWS).another_name(FALL)
    assert named is not None
    assert (named.kind, named.row.answers, named.withdrawn) == (ANOTHER_NAME, (), frozenset())
    new = set(named.row.question.strip("?").split()) - set(FALL.question.strip("?").split())
    assert new
    assert all(word in OTHER.context and word not in FALL.context for word in new)
    assert Mixture([FALL, SAME, NONE]).another_name(FALL) is None, "nothing to take a name from"


def test_a_question_comes_in_each_kind_there_is_of_it() -> None:
    mixture = Mixture(ROWS)
    assert [one.kind for one in mixture.all_of(FALL)] == [ANSWERABLE, WITHDRAWN, ANOTHER_NAME]
    assert [one.kind for one in mixture.all_of(NONE)] == [MISLEADING]
