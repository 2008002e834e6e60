"""The sample collection: are its questions answered, rightly, from the gold place?"""

import json
import tempfile
from pathlib import Path

from rich.table import Table

from eval.metrics import contains
from eval.report import Report
from knowledge_bases.home import Home
from knowledge_bases.knowledge_base import KnowledgeBase
from rag.settings import Settings
from rag.types import Answer

SAMPLES = Path(__file__).parents[2] / "knowledge_bases" / "samples"


def run(settings: Settings, data: Path | None) -> Report:
    """Ask all questions of the sample collection.

    *cited right*: a citation overlaps a gold quote; *right*: the answer holds a gold answer's
    words; *exact*: every citation's slice of the stored text is its quote.
    """
    rows = [
        json.loads(line) for line in (SAMPLES / "questions.jsonl").read_text("utf-8").splitlines()
    ]
    with (
        tempfile.TemporaryDirectory() as folder,
        Home(settings.model_copy(update={"home": Path(folder)})) as home,
    ):
        base = home.create("samples")
        base.ingest([SAMPLES / "documents"])
        answers = {row["id"]: base.ask(row["question"]).answer for row in rows}
        exact = [_exact(base, answer) for answer in answers.values() if answer.citations]
    found = {row["id"]: _holds(row, answers[row["id"]]) for row in rows if row["answerable"]}
    answerable = [row for row in rows if row["answerable"]]
    others = [row for row in rows if not row["answerable"]]
    served = [row for row in answerable if answers[row["id"]].status == "answered"]
    right = [row for row in served if contains(answers[row["id"]].text, row["answers"])]
    withheld = [row for row in others if answers[row["id"]].status == "abstained"]
    content = {
        "answerable": len(answerable),
        "gold_in_passages": sum(found.values()),
        "served": len(served),
        "served_right": len(right),
        "unanswerable": len(others),
        "withheld": len(withheld),
        "citations_exact": all(exact),
        "rows": [
            {
                "id": row["id"],
                "question": row["question"],
                "answerable": row["answerable"],
                "status": answers[row["id"]].status,
                "probability": round(answers[row["id"]].confidence, 3),
                "text": answers[row["id"]].draft.text,
                "gold": row["answers"],
            }
            for row in rows
        ],
    }
    table = Table("measure", "value", title="Sample collection")
    table.add_row("gold quote among the passages read", f"{sum(found.values())}/{len(answerable)}")
    table.add_row("answerable questions served", f"{len(served)}/{len(answerable)}")
    table.add_row("served answers that hold the gold answer", f"{len(right)}/{len(served)}")
    table.add_row("unanswerable questions withheld", f"{len(withheld)}/{len(others)}")
    table.add_row("answers whose citations are all exact", f"{sum(exact)}/{len(exact)}")
    return Report(content, table)


def _exact(base: KnowledgeBase, answer: Answer) -> bool:
    return all(
        base.document_at(citation.document.uri, citation.version)[1][citation.start : citation.end]
        == citation.quote
        for citation in answer.citations
    )


def _holds(row: dict[str, object], answer: Answer) -> bool:
    gold = row["gold"]
    assert isinstance(gold, list)
    return any(
        passage.document.uri == place["uri"] and place["quote"] in passage.text
        for passage in answer.passages
        for place in gold
    )
