"""An answer for a terminal: text with citation numbers, sources, verdicts and audit id."""

from rich.console import Console
from rich.markup import escape

from api.schemas import Answer, Citation

_GUARDS_ONLY = "guards only; no entailment model"
_BADGES = {"supported": "green", "contradicted": "red", "unsupported": "yellow"}


def shown_verdict(verdict: str, p_supported: float | None) -> str:
    """Return a verdict as people should read it: guards alone judge less than it sounds like."""
    return verdict if p_supported is not None else f"{verdict} ({_GUARDS_ONLY})"


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
        for claim in answer.claims:
            missed = "; ".join(f"{g.name} {', '.join(g.missing)}" for g in claim.guards)
            colour = _BADGES[claim.verdict]
            out.print(
                f"  [{colour}]{shown_verdict(claim.verdict, claim.p_supported)}[/{colour}]"
                + (f" (not found: {escape(missed)})" if missed else "")
                + f"  confidence {answer.confidence:.2f}"
            )
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


def _place(citation: Citation) -> str:
    parts = [
        f"{citation.document.uri} v{citation.version}",
        f"characters {citation.start}–{citation.end}",
        f"page {citation.page}" if citation.page else "",
        citation.section or "",
    ]
    return ", ".join(part for part in parts if part)
