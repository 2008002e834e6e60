"""Checks that recorded answers come out the same again, and that what is in the way is named."""

import hashlib
import shutil
from dataclasses import replace

import pytest

from knowledge_bases.home import Home
from knowledge_bases.knowledge_base import NO_FILTERS
from knowledge_bases.replaying import replay
from rag.errors import NotFound, UsageError
from rag.types import Filters

DOSE = "The maximum dose of paracetamol is 4 g in 24 hours. Keep it dry."
QUESTION = "What is the maximum dose of paracetamol?"


@pytest.fixture
def answering(settings, embedder, tmp_path):
    """A knowledge base that answers whatever it finds, and a folder to write documents to."""
    always = settings.model_copy(update={"answer_threshold": 0.0, "keep_generations": 1})
    folder = tmp_path / "documents"
    folder.mkdir()
    with Home(always, embedder=embedder) as home:
        base = home.create("docs")
        (folder / "storage.txt").write_text(
            "Insulin is kept between 2 and 8 degrees in the fridge."
        )
        (folder / "dose.txt").write_text(DOSE)
        base.ingest([folder])
        yield base, folder


def write(base, folder, name, text):
    (folder / name).write_text(text)
    base.ingest([folder / name])


def asked(base, question=QUESTION, filters=NO_FILTERS):
    """Ask, and return the receipt as the log gives it back."""
    recorded = base.ask(question, filters=filters)
    receipt = base.store.log.payload(base.store.log.get(recorded.record.id))
    assert receipt is not None
    return receipt


def with_settings(base, **changes):
    """The same home with other settings."""
    settings = base.home.settings.model_copy(update=changes)
    return Home(settings, embedder=base.home.embedder).open(base.name)


def test_an_answer_is_identical_on_its_own_index(answering):
    base, _ = answering
    receipt = asked(base)
    result = replay(base, "a1", receipt)
    assert (result.outcome, result.retrieved_again, result.diff) == ("identical", True, ())
    assert result.differences == ()
    assert receipt["status"] == "answered"


def test_the_settings_digest_is_that_of_receipts(answering):
    base, _ = answering
    assert replay(base, "a1", asked(base)).differences == ()


def test_an_abstention_is_replayed_too(settings, embedder):
    with Home(settings, embedder=embedder) as home:
        base = home.create("empty")
        receipt = asked(base)
        assert receipt["status"] == "abstained"
        assert replay(base, "a1", receipt).outcome == "identical"


def test_without_its_index_an_answer_is_written_from_the_recorded_passages(answering):
    base, folder = answering
    receipt = asked(base)
    write(base, folder, "dose.txt", "The maximum dose of paracetamol is 3 g in 24 hours.")
    result = replay(base, "a1", receipt)
    assert (result.outcome, result.retrieved_again) == ("identical", False)
    (index,) = result.differences
    number = receipt["index"]["generation"]
    assert str(index) == (
        f"index: generation {number} with manifest {receipt['index']['manifest_sha256'][:12]}… "
        "is not here"
    )
    assert base.ask(QUESTION).answer.text != receipt["text"]


def test_a_kept_index_is_searched_as_it_was(answering):
    base, folder = answering
    kept = with_settings(base, keep_generations_days=30)
    receipt = asked(kept)
    write(kept, folder, "dose.txt", "The maximum dose of paracetamol is 3 g in 24 hours.")
    kept.delete_document("storage.txt")
    result = replay(kept, "a1", receipt)
    assert (result.outcome, result.retrieved_again) == ("identical", True)
    assert result.differences == ()


@pytest.mark.parametrize("filters", [Filters(documents=("dose.txt",)), Filters(tags=("x",))])
def test_filters_hold_in_a_replay(answering, filters):
    base, folder = answering
    kept = with_settings(base, keep_generations_days=30)
    receipt = asked(kept, filters=filters)
    write(kept, folder, "dose.txt", "Nothing is known.")
    result = replay(kept, "a1", receipt)
    assert (result.outcome, result.retrieved_again) == ("identical", True)


def test_a_deleted_document_is_no_hindrance(answering):
    base, _ = answering
    receipt = asked(base)
    base.delete_document("dose.txt")
    assert replay(base, "a1", receipt).outcome == "identical"


def test_passages_that_the_search_no_longer_finds_are_named(answering):
    base, _ = answering
    receipt = asked(base)
    missing = receipt["passages"].pop(0)
    result = replay(base, "a1", receipt)
    assert result.retrieved_again
    assert result.outcome == "changed"
    assert any(missing["document"] in line for line in result.diff)


def test_figures_that_differ_leave_the_verdict(answering):
    base, _ = answering
    receipt = asked(base)
    receipt["decision"]["probability"] += 0.001
    receipt["draft"]["tokens"][0][1] += 0.001
    result = replay(base, "a1", receipt)
    assert result.outcome == "same verdict"
    assert len(result.diff) == 4
    assert result.diff[0].startswith("-draft.tokens[0].probability: ")
    assert result.diff[3].startswith("+decision.probability: ")


def test_another_text_is_a_change_with_a_readable_diff(answering):
    base, _ = answering
    receipt = asked(base)
    answer = receipt["text"]
    receipt["text"] = "Ten\x1b[31m grams."
    result = replay(base, "a1", receipt)
    assert result.outcome == "changed"
    assert "-Ten\\u001b[31m grams." in result.diff
    assert f"+{answer}" in result.diff


def test_other_settings_and_models_are_named(answering):
    base, _ = answering
    receipt = asked(base)
    receipt["models"]["verifier"] = "verifier:0123"
    receipt["models"]["reranker"] = "reranker:0123"
    receipt["software"] = "grounded-rag 0.0.1"
    other = with_settings(base, candidates=7)
    result = replay(other, "a1", receipt)
    named = {difference.what: difference for difference in result.differences}
    assert set(named) == {"verifier", "reranker", "software", "setting candidates"}
    assert str(named["reranker"]) == "reranker: reranker:0123 is not here"
    assert named["verifier"].now == base.home.verifier.digest
    assert str(named["setting candidates"]) == "setting candidates: was 50, is 7"
    del receipt["settings"]  # As in receipts of before.
    (setting,) = (d for d in replay(other, "a1", receipt).differences if "setting" in d.what)
    assert setting.then == receipt["settings_sha256"]


def test_another_embedder_is_named_and_its_index_left_alone(answering):
    base, _ = answering
    receipt = asked(base)
    receipt["models"]["embedder"] = "package:other 0123"
    result = replay(base, "a1", receipt)
    assert [d.what for d in result.differences] == ["embedder"]


def test_a_changed_index_file_is_not_searched(answering):
    base, _ = answering
    receipt = asked(base)
    generation = base.lifecycle.current()
    vectors = generation.path / "vectors.index"
    vectors.write_bytes(vectors.read_bytes()[::-1])
    result = replay(base, "a1", receipt)
    assert (result.outcome, result.retrieved_again) == ("identical", False)
    assert "vectors.index was changed" in str(result.differences[0])


def test_another_index_of_the_same_number_is_not_searched(answering):
    base, _ = answering
    receipt = asked(base)
    receipt["index"]["manifest_sha256"] = hashlib.sha256(b"other").hexdigest()
    result = replay(base, "a1", receipt)
    assert (result.outcome, result.retrieved_again) == ("identical", False)
    assert result.differences[0].what == "index"


def test_a_knowledge_base_made_anew_holds_the_same_texts(answering):
    base, folder = answering
    receipt = asked(base)
    home = base.home
    home.delete("docs")
    anew = home.create("docs")
    write(anew, folder, "other.txt", "Something else that takes the first numbers.")
    anew.ingest([folder])
    result = replay(anew, "a1", receipt)
    assert result.outcome in ("identical", "same verdict")
    assert not result.retrieved_again


def test_a_text_that_is_gone_is_named(answering):
    base, _ = answering
    receipt = asked(base)
    receipt["passages"][0]["text_sha256"] = hashlib.sha256(b"other").hexdigest()
    with pytest.raises(NotFound, match=r"of 'dose.txt', version 1, are no longer stored"):
        replay(base, "a1", receipt)


def test_only_answers_can_be_replayed(answering):
    base, _ = answering
    with pytest.raises(UsageError, match="of kind 'deletion'"):
        replay(base, "a1", {"kind": "deletion"})


def test_a_masked_question_is_said_to_be_masked(answering):
    base, _ = answering
    receipt = {**asked(base), "personal_data": {"mode": "mask", "found": {"iban": 2}}}
    assert [d.what for d in replay(base, "a1", receipt).differences] == ["question"]


def test_a_removed_generation_is_not_opened(answering):
    base, folder = answering
    kept = with_settings(base, keep_generations_days=30)
    receipt = asked(kept)
    write(kept, folder, "more.txt", "More.")
    number = receipt["index"]["generation"]
    assert number in kept.lifecycle.remove_old()
    with pytest.raises(NotFound, match=f"index generation {number} was removed on"):
        kept.lifecycle.at(number)
    with pytest.raises(NotFound, match="index generation 99 is not there"):
        kept.lifecycle.at(99)
    assert kept.search("dose")


def test_old_generations_go_when_their_time_is_over(answering):
    base, folder = answering
    kept = with_settings(base, keep_generations_days=30)
    numbers = [kept.lifecycle.current().manifest.number]
    for name in ("b", "c"):
        write(kept, folder, f"{name}.txt", name)
        numbers.append(kept.lifecycle.current().manifest.number)
    assert [kept.lifecycle.at(number).manifest.number for number in numbers] == numbers
    soon_over = with_settings(base, keep_generations_days=1e-9)
    write(soon_over, folder, "d.txt", "d")
    for number in numbers:
        with pytest.raises(NotFound):
            soon_over.lifecycle.at(number)


def test_a_lost_generation_folder_is_named(answering):
    base, _ = answering
    receipt = asked(base)
    opened = base.lifecycle.current()
    shutil.rmtree(opened.path)
    again = Home(base.home.settings, embedder=base.home.embedder).open("docs")
    result = replay(again, "a1", receipt)
    assert (result.outcome, result.retrieved_again) == ("identical", False)
    assert replace(result.differences[0], then=None).what == "index"


def test_what_it_ran_on_is_told_where_it_is_another(answering):
    base, _ = answering
    receipt = asked(base)
    other = {**receipt["runtime"], "torch": "1.0", "device": "cuda"}
    result = replay(base, "a1", {**receipt, "runtime": other})
    assert result.outcome == "identical"
    here = receipt["runtime"]
    assert [str(one) for one in result.differences] == [
        f"device: was cuda, is {here['device']}",
        f"torch: was 1.0, is {here['torch']}",
    ]


def test_a_renamed_document_is_no_change(answering):
    base, _ = answering
    receipt = asked(base)
    renamed = [{**passage, "title": "Another"} for passage in receipt["passages"]]
    assert replay(base, "a1", {**receipt, "passages": renamed}).outcome == "identical"
