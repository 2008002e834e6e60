"""/ and /answers: ask a question, read the answer now or later."""

from typing import Annotated

from fastapi import APIRouter, Form, Response
from fastapi.responses import RedirectResponse
from starlette.requests import Request

from api.auth import needs
from api.routes.shared import HomeParam
from api.web.answer_view import AnswerView, answer_view
from api.web.links import answer_link, record_link
from api.web.shared import (
    PageRoute,
    opened,
    opened_if_there,
    page,
    visible_names,
)
from knowledge_bases.access import Asker
from knowledge_bases.home import Home
from knowledge_bases.store.log_reading import no_such_record
from rag.errors import NotFound

router = APIRouter(route_class=PageRoute)

READING_ANSWERS = needs("ask", "audit", "review")
_READING_ALL = frozenset({"audit", "review"})


@router.get("/")
def ask_page(
    request: Request,
    home: HomeParam,
    who: Annotated[Asker, needs()],
    kb: str = "",
    question: str = "",
) -> Response:
    """Show the form."""
    return _page(request, home, who, kb=kb, question=question)


@router.post("/")
def ask(
    request: Request,
    home: HomeParam,
    who: Annotated[Asker, needs("ask")],
    kb: Annotated[str, Form()] = "",
    question: Annotated[str, Form()] = "",
) -> Response:
    """Ask, and show the answer; it is in the log by then."""
    base = opened(home, who, kb)
    recorded = base.ask(question, asker=who.label)
    row = home.store.log.get(recorded.record.id)
    receipt = home.store.log.payload(row)
    if receipt is None:
        raise NotFound(f"the payload of record {row.id} was erased")
    view = answer_view(row, receipt, base)
    return _page(
        request,
        home,
        who,
        kb=kb,
        question=question.strip(),
        view=view,
        headers={"HX-Push-Url": answer_link(row.id)},
    )


@router.get("/answers/{record_id}")
def answer_page(
    request: Request,
    record_id: str,
    home: HomeParam,
    who: Annotated[Asker, READING_ANSWERS],
) -> Response:
    """Show an answer again; that somebody opened it is recorded."""
    view = read_answer(home, who, record_id)
    if view is None:
        return RedirectResponse(record_link(record_id), 303)
    kb = str(view.receipt["knowledge_base"])
    return _page(request, home, who, kb=kb, question=view.receipt["question"], view=view)


def read_answer(home: Home, who: Asker, record_id: str) -> AnswerView | None:
    """Open an answer's record, which is logged; None where it is no answer or was erased.

    Who may only ask is shown their own answers.

    Raises:
        NotFound: there is no such record for them.
        RecordError: the log refused the record of the reading.
    """
    row = home.store.log.get(record_id)
    if row.kind != "answer":
        return None
    receipt = home.store.log.payload(row)
    if who.scopes.isdisjoint(_READING_ALL) and (receipt or {}).get("asker") != who.label:
        raise no_such_record(record_id)
    if receipt is None:
        return None
    home.audit.read(row, how="show", actor=who.label)
    return answer_view(row, receipt, opened_if_there(home, who, row.kb_name))


def _page(
    request: Request,
    home: Home,
    who: Asker,
    *,
    kb: str,
    question: str,
    view: AnswerView | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    return page(
        request,
        "ask.html",
        part="_answer.html",
        headers=headers,
        names=visible_names(home, who),
        kb=kb,
        question=question,
        most_chars=home.settings.max_question_chars,
        view=view,
    )
