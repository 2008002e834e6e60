"""An answer for a terminal: text with citation numbers, sources, verdicts and audit id."""

from rich.console import Console
from rich.markup import escape

from api.schemas import Answer, Citation
from api.verdicts import Check, Disagreement, EvidenceSpan, GuardMiss

_GUARDS_ONLY = "guards only; no entailment model"
_CLAIM_CHARS = 60
"""Of a claim beside its verdict; the whole of it stands in the answer above."""
_BADGES = {"supported": "green", "contradicted": "red", "unsupported": "yellow"}


def shown_verdict(verdict: str, p_supported: float | None) -> str:
    """Return a verdict as people should read it: guards alone judge less than it sounds like."""
    return verdict if p_supported is not None else f"{verdict} ({_GUARDS_ONLY})"


def show_check(out: Console, check: Check) -> None:
    """Print the verdict on a text with where the evidence says so; of several claims each."""
    out.print(_judged(check.verdict, check.p_supported, check.guards))
    if len(check.claims) == 1:
        _show_span(out, check.evidence_span)
    else:
        for claim in check.claims:
            judged = _judged(claim.verdict, claim.p_supported, claim.guards)
            out.print(f"  {judged}: {escape(claim.text)}")
            _show_span(out, claim.evidence_span, indent="  ")


def _show_span(out: Console, span: EvidenceSpan | None, *, indent: str = "") -> None:
    if span is not None:
        place = f"{indent}  evidence {span.evidence + 1}, characters {span.start}–{span.end}"
        out.print(f"{place}: {escape(' '.join(span.text.split()))}", style="dim")


def _judged(verdict: str, p_supported: float | None, guards: list[GuardMiss]) -> str:
    missed = "; ".join(f"{guard.name}: {', '.join(guard.missing)}" for guard in guards)
    likely = "" if p_supported is None else f" (probability {p_supported:.2f})"
    colour = _BADGES[verdict]
    judged = f"[{colour}]{shown_verdict(verdict, p_supported)}[/{colour}]{likely}"
    return judged + (f" (not found: {escape(missed)})" if missed else "")


def _other(found: Disagreement) -> str:
    where = f"{found.document} v{found.version}, characters {found.start}–{found.end}"
    return escape(f"{where}: {' '.join(found.text.split())}")


def show_answer(out: Console, answer: Answer) -> None:
    """Print an answer; copied words are underlined, generated ones are plain."""
    if answer.read_as is not None:
        out.print(f"[yellow]read as:[/yellow] {escape(answer.read_as)}")
    if answer.status == "answered":
        text = ""
        for segment in answer.segments:
            if segment.citation is None:
                text += escape(segment.text)
            else:
                text += f"[underline]{escape(segment.text)}[/underline] [{segment.citation}]"
        out.print(text, style="bold")
        for citation in answer.citations:
            out.print(f"  [{citation.index}] {escape(_place(citation))}")
        _show_claims(out, answer)
    else:
        out.print(f"[yellow]No answer:[/yellow] {escape(answer.reason or '')}")
        if answer.passages:
            out.print("  nearest passages:")
        for hit in answer.passages[:3]:
            where = ", ".join(filter(None, (f"page {hit.page}" if hit.page else "", hit.section)))
            excerpt = " ".join(hit.text.split())
            out.print(f"  - {escape(hit.document.uri)} ({escape(where or 'whole document')})")
            short = excerpt if len(excerpt) <= 110 else f"{excerpt[:110]}…"
            out.print(f"    {escape(short)}", style="dim")
    out.print(f"  audit id {answer.answer_id}  leaf {answer.receipt.leaf_hash[:16]}…", style="dim")


def _show_claims(out: Console, answer: Answer) -> None:
    """Print the verdicts; of several claims each with its words, and what denies it below it."""
    sure = f"confidence {answer.confidence:.2f}"
    several = len(answer.claims) > 1
    for claim in answer.claims:
        judged = _judged(claim.verdict, claim.p_supported, claim.guards)
        out.print(f"  {judged}: {escape(_short(claim.text))}" if several else f"  {judged}  {sure}")
        if claim.disagreement is not None:
            indent = "    " if several else "  "
            out.print(
                f"{indent}[red]another passage says otherwise:[/red] {_other(claim.disagreement)}"
            )
    if several:
        out.print(f"  {sure}")


def _short(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= _CLAIM_CHARS else f"{words[:_CLAIM_CHARS].rstrip()}…"


def _place(citation: Citation) -> str:
    parts = [
        f"{citation.document.uri} v{citation.version}",
        f"characters {citation.start}–{citation.end}",
        f"page {citation.page}" if citation.page else "",
        citation.section or "",
    ]
    return ", ".join(part for part in parts if part)
