import pytest

from rag.calibration import Calibration
from rag.cite import PassageText, cite
from rag.errors import ModelError
from rag.generate.extractive import ExtractiveGenerator

TEXT = (
    "Paracetamol is given by mouth. The maximum dose of paracetamol is 4 g in 24 hours. "
    "Keep insulin in the fridge."
)


@pytest.fixture
def generator(embedder, word_calibration):
    return ExtractiveGenerator(embedder, Calibration.load(word_calibration))


def test_the_best_sentence_is_quoted_word_for_word(generator, passage_of):
    passages = [passage_of("Nothing of use here."), passage_of(TEXT, index=1)]
    draft = generator.generate("What is the maximum dose of paracetamol?", passages)
    assert draft.text == "The maximum dose of paracetamol is 4 g in 24 hours."
    segments, citations = cite(draft, passages, PassageText())
    assert [segment.origin for segment in segments] == ["copied"]
    assert citations[0].passage == 1
    assert all(token.pointer and token.copy_share == 1 for token in draft.tokens)


def test_the_same_question_gives_the_same_draft(generator, passage_of):
    passages = [passage_of(TEXT)]
    question = "Where is insulin kept?"
    assert generator.generate(question, passages) == generator.generate(question, passages)


def test_overlapping_chunks_give_each_sentence_once(generator, passage_of):
    passage = passage_of(TEXT, start=10)
    sentences, features = generator.rank_features("dose?", [passage, passage])
    assert len(sentences) == len(features) == 3


def test_a_heading_is_not_quoted(generator, passage_of):
    text = "4. Late payment\nIf an instalment is late, interest is due from the day after."
    draft = generator.generate("When is interest due?", [passage_of(text)])
    assert draft.text == "If an instalment is late, interest is due from the day after."


@pytest.mark.parametrize("texts", [[], [""], ["  \n"]])
def test_without_text_there_is_no_draft(generator, passage_of, texts):
    draft = generator.generate("What?", [passage_of(text) for text in texts])
    assert (draft.text, draft.tokens, draft.confidence) == ("", (), 0.0)


@pytest.mark.parametrize("question", ["?", "😀", "投与量は？", "a " * 2_000])
def test_odd_questions_still_give_a_draft(generator, passage_of, question):
    assert generator.generate(question, [passage_of(TEXT)]).text in TEXT


def test_two_hundred_passages(generator, passage_of):
    passages = [passage_of(f"Ward {i} has {i} beds.", index=i) for i in range(200)]
    draft = generator.generate("How many beds has Ward 77?", passages)
    assert draft.text.startswith("Ward")


def test_weights_for_other_features_are_refused(embedder, tmp_path):
    path = tmp_path / "calibration.json"
    path.write_text(
        '{"embedder_sha256": "x", "fusion": {"dense_weight": 0.5, "rank_share": 0}, '
        '"models": {"extractive": '
        '{"features": ["similarity"], "weights": [1], "intercept": 0}}}'
    )
    with pytest.raises(ModelError, match="other features"):
        ExtractiveGenerator(embedder, Calibration.load(path))


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"embedder_sha256": 1}'])
def test_a_broken_calibration_file_is_one_line(tmp_path, content):
    path = tmp_path / "calibration.json"
    path.write_text(content)
    with pytest.raises(ModelError, match="not a calibration file"):
        Calibration.load(path)
    with pytest.raises(ModelError, match="No such file"):
        Calibration.load(tmp_path / "gone.json")
