"""Checks that a student follows its teacher's distributions, and its answers as text."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from accelerate import Accelerator
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from rag.errors import TrainingDataError, UsageError
from rag.generate.base import Base, random_start
from rag.generate.saved import save_generator
from rag.training import distill, teaching
from rag.training.batches import BatchPlan, collate
from rag.training.data import GoldAnswer, read_questions
from rag.training.distill import (
    WithDistribution,
    distillation_loss,
    located,
    same_vocabulary,
    teacher_log_probs,
    teacher_rows,
)
from rag.training.examples import Example, Mix
from rag.training.generator import train
from rag.training.losses import generator_losses, loss_terms
from rag.training.settings import GeneratorTraining
from rag.training.teaching import Teaching
from rag.types import Draft, Pointer, Token


@pytest.fixture
def batch(make_base):
    examples = [
        Example([5, 6], [[10, 11, 12, 13]], [11, 12], (0, 1, 2), False),
        Example([7], [[14, 15]], [1], None, True),
        Example([8], [[16, 17]], [20, 21, 22], None, False),
    ]
    return collate(examples, make_base().special, start_id=3, end_id=4)


def arguments(batch):
    return batch.passages, batch.decoder_ids, batch.targets, batch.target_mask


def test_the_loss_is_the_divergence_of_softened_distributions() -> None:
    teacher, student = torch.tensor([[0.7, 0.2, 0.1]]), torch.tensor([[0.3, 0.3, 0.4]])
    soft = [[math.sqrt(p) for p in row[0].tolist()] for row in (teacher, student)]
    one, other = ([p / sum(row) for p in row] for row in soft)
    expected = 4 * sum(p * math.log(p / q) for p, q in zip(one, other, strict=True))
    found = distillation_loss(student.log(), teacher.log(), temperature=2.0)
    assert float(found) == pytest.approx(expected, rel=1e-5)
    assert float(distillation_loss(student.log()[:0], teacher.log()[:0])) == 0.0


def test_a_student_that_is_its_teacher_has_nothing_to_learn(make_base, batch) -> None:
    model = make_base().model.eval()
    forced, log_probs = WithDistribution(model)(*arguments(batch))
    teacher = teacher_log_probs(model, batch)
    assert log_probs.shape == (9, model.seq2seq.config.vocab_size)
    assert float(distillation_loss(log_probs, teacher).detach()) == pytest.approx(0.0, abs=1e-6)
    mixture = model.decode(model.encode(batch.passages), batch.decoder_ids)[0]
    torch.testing.assert_close(log_probs, mixture.log_probs()[batch.target_mask])
    plain = generator_losses(model, batch)
    for name, value in loss_terms(forced, batch).items():
        torch.testing.assert_close(value, plain[name], atol=1e-5, rtol=1e-4)


def test_a_student_moves_to_its_teacher(make_base, batch) -> None:
    teacher = random_start(make_base(), seed=5).model.eval()
    student = make_base().model.eval()
    before = {n: p.clone() for n, p in teacher.named_parameters()}
    optimizer = torch.optim.Adam(student.parameters(), lr=1e-2)
    losses = []
    for _ in range(30):
        log_probs = WithDistribution(student)(*arguments(batch))[1]
        loss = distillation_loss(log_probs, teacher_log_probs(teacher, batch))
        loss.backward()
        gradients = [p.grad for p in student.parameters() if p.grad is not None]
        assert len(gradients) > 20
        assert all(torch.isfinite(gradient).all() for gradient in gradients)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.2 * losses[0]
    assert all(torch.equal(p, before[n]) for n, p in teacher.named_parameters())
    assert all(p.grad is None for p in teacher.parameters())


def test_vocabularies_are_told_apart(make_base) -> None:
    base = make_base()
    assert same_vocabulary(base, make_base())
    ids = {token: i for token, i in base.tokenizer.get_vocab().items() if i != 20}
    other = replace(base, tokenizer=Tokenizer(models.WordPiece({**ids, "new": 20})))
    assert not same_vocabulary(base, other)
    other = make_base()
    other.model.reserved_id = 9
    assert not same_vocabulary(base, other)
    padded = make_base()
    padded.model.seq2seq.resize_token_embeddings(base.model.seq2seq.config.vocab_size + 8)
    assert not same_vocabulary(base, padded), "the output layers differ in rows"


def saved(base: Base, folder: Path) -> str:
    save_generator(folder, base, trained_from="random")
    return str(folder)


@pytest.fixture
def plan(question_file: Path, tmp_path: Path) -> GeneratorTraining:
    return GeneratorTraining(
        train=question_file,
        out=tmp_path / "run",
        examples=200,
        mixed_precision="no",
        mix=Mix(several=0.3),
        plan=BatchPlan(seed=1, padded_tokens=600, pool=16, easy_examples=30, easy_tokens=40),
        stop_after_steps=3,
    )


def test_a_run_learns_distributions_of_the_same_vocabulary(plan, make_base, tmp_path) -> None:
    teacher = saved(random_start(make_base(), seed=5), tmp_path / "teacher")
    report = train(replace(plan, teacher=teacher), make_base())
    assert report["losses"]["teacher"] > 0
    assert not list(plan.out.glob("teacher-answers*"))
    with pytest.raises(UsageError, match="train with copying"):
        train(replace(plan, teacher=teacher, copying=False, out=tmp_path / "other"), make_base())


def ending(base: Base) -> Base:
    """A base that copies a little and comes to an end."""
    with torch.no_grad():
        base.model.seq2seq.final_logits_bias[0, base.model.eos_id] += 2.0
        base.model.copy_attention.gate.bias -= 1.0
    return base


def other_teacher(make_base, folder: Path, *, seed: int = 5) -> str:
    """A teacher with another vocabulary than the student's."""
    base = make_base()
    base.model.reserved_id = 9  # for another token
    return saved(ending(random_start(base, seed=seed)), folder)


def test_another_vocabulary_teaches_by_its_answers(plan, make_base, tmp_path) -> None:
    teacher = other_teacher(make_base, tmp_path / "teacher")
    report = train(replace(plan, teacher=teacher), make_base())
    assert "teacher" not in report["losses"]
    (path,) = plan.out.glob("teacher-answers-*.jsonl")
    answered = read_questions(path)
    rows = read_questions(plan.train)
    assert [row.question for row in answered] == [row.question for row in rows]
    assert [row.answers for row in answered] != [row.answers for row in rows]


def test_answers_of_another_teacher_or_file_are_made_anew(plan, make_base, tmp_path) -> None:
    accelerator = Accelerator(mixed_precision="no")
    rows = read_questions(plan.train)
    one, two = (other_teacher(make_base, tmp_path / f"t{seed}", seed=seed) for seed in (5, 6))

    def files(teacher: str, rows, **changes) -> set[str]:
        settings = replace(plan, teacher=teacher, **changes)
        Teaching(settings, make_base(), "cpu").rows(rows, accelerator)
        return {path.name for path in plan.out.glob("teacher-answers-*.jsonl")}

    assert len(files(one, rows)) == 1
    assert len(files(one, rows)) == 1
    assert len(files(two, rows)) == 2
    assert len(files(one, rows[:9])) == 3
    assert len(files(one, rows, plan=replace(plan.plan, seed=8))) == 4


def test_inputs_are_read_before_the_teacher_works(plan, make_base, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(teaching, "teacher_rows", lambda *_, **__: pytest.fail("worked"))
    teacher = other_teacher(make_base, tmp_path / "teacher")
    (tmp_path / "bad.jsonl").write_text('{"premise": 3}\n')
    for name in ("statements", "dev"):
        bad = replace(plan, teacher=teacher, **{name: tmp_path / "bad.jsonl"})
        with pytest.raises(TrainingDataError, match="row 1"):
            train(bad, make_base())
        assert not plan.out.exists()


def test_a_run_killed_while_its_teacher_works_can_be_repeated(
    plan, make_base, tmp_path, monkeypatch
) -> None:
    teacher = other_teacher(make_base, tmp_path / "teacher")

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(teaching, "teacher_rows", killed)
        with pytest.raises(KeyboardInterrupt):
            train(replace(plan, teacher=teacher), make_base())
    (plan.out / ".partial-teacher").write_text("")
    assert train(replace(plan, teacher=teacher), make_base())["step"] == 3


def test_a_share_of_the_rows_is_answered(make_base, question_file) -> None:
    rows = read_questions(question_file)
    counts = []
    teacher = ending(make_base())
    taught = teacher_rows(rows, teacher, share=0.5, threshold=2.0, progress=counts.append)
    changed = [a.answers != b.answers for a, b in zip(rows, taught, strict=True)]
    assert 0 < sum(changed) < len(rows)
    assert counts[-1] >= sum(changed)
    assert teacher_rows(rows, teacher, share=0.0) == rows
    none = teacher_rows(rows, teacher, threshold=0.0)
    assert all(row.answers == () for row in none)


class Writing:
    """Writes one draft always."""

    draft: ClassVar[Draft]

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def write(self, requests):
        return [self.draft for _ in requests]


def test_unfinished_answers_are_not_taught(make_base, question_file, monkeypatch) -> None:
    rows = read_questions(question_file)
    monkeypatch.setattr(distill, "CopyGenerator", Writing)
    for finished in (0.0, 1.0):
        word = Token("Ada", 0.9, 0.1, None)
        Writing.draft = Draft((word,), 0.9, "test", {"finished": finished})
        taught = teacher_rows(rows, make_base())
        assert (taught == rows) == (finished == 0.0)


def test_a_copied_answer_is_where_it_was_copied_from() -> None:
    context = "Ada met Bela. Ada Byron sang."
    tokens = tuple(
        Token(text, 0.9, 1.0, Pointer(0, start, start + len(text)))
        for text, start in (("Ada", 14), (" ", 17), ("Byron", 18))
    )
    copied = Draft(tokens, 0.9, "test")
    assert distill.taught(copied, context) == (GoldAnswer("Ada Byron", 14),)
    assert distill.taught(Draft(tokens[:1], 0.9, "test"), context) == (GoldAnswer("Ada", 14),)
    written = Draft((Token("Ada", 0.9, 0.1, None),), 0.9, "test")
    assert distill.taught(written, context) == (GoldAnswer("Ada", 0),)


def test_only_whole_words_are_found() -> None:
    context = "The party parted with art (1815)."
    assert located("art", context) == (GoldAnswer("art", 22),)
    assert located("part", context) == (GoldAnswer("part", None),)
    assert located("(1815)", context) == (GoldAnswer("(1815)", 26),)
    assert located("with art", "witheart withart") == (GoldAnswer("with art", None),)


def test_answers_are_found_again_in_their_context() -> None:
    assert located("2 - 0", "They won 2-0.") == (GoldAnswer("2-0", 9),)
    assert located("they lost", "They won 2-0.") == (GoldAnswer("they lost", None),)


@given(st.text(alphabet="ab .-"), st.text(alphabet="ab .-"), st.text(alphabet="ab .-"))
def test_a_located_span_is_the_first_of_whole_words(before: str, answer: str, after: str) -> None:
    answer = answer.strip()
    context = f"{before} {answer} {after}"
    for found in located(answer, context):
        assert found.start is not None, "it stands there between spaces"
        assert context[found.start : found.start + len(found.text)] == found.text
        assert found.start <= len(before) + 1
        assert found.text.replace(" ", "") == answer.replace(" ", "")
        around = context[: found.start][-1:] + context[found.start + len(found.text) :][:1]
        if answer.isalpha():
            assert not any(letter.isalpha() for letter in around)
