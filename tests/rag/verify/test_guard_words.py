"""Names, negations and quotations."""

import pytest

from rag.verify.guards import check


def missed(kind, claim, evidence):
    return next((guard.missing for guard in check(claim, [evidence]) if guard.name == kind), ())


@pytest.mark.parametrize(
    ("claim", "evidence"),
    [
        ("Call Dr Ahmed.", "Dr AHMED answers calls."),
        ("Call Zoë Müller.", "Zoe Muller answers calls."),
        ("It is Smith's.", "Smith has it."),
        ("It is Anglo-Norman.", "The Anglo Norman style is it."),
        ("He is in the U.S. now.", "He is in the US now."),
        ("The Normans came.", "A Norman came."),
        ("J. Smith came.", "John Smith came."),
        ("The WHO said so.", "The World Health Organization said so."),
        ("Patients wait.", "The waiting takes long."),
        ("However, it rains.", "It rains."),
        ("It rains. Therefore we wait.", "It rains and we wait."),
        ("It came on Monday in March.", "It came on Monday, March 3."),
        ("The Use Of Steam In Large Mills", "How steam was used in a large mill"),
        ("STEAM IS USED IN LARGE MILLS", "Steam is used in a large mill."),
        ("Give vitamin B12.", "Vitamin B12 is given."),
        ("mRNA is made.", "They make mRNA."),
    ],
)
def test_a_name_is_met(claim, evidence):
    assert missed("name", claim, evidence) == ()


@pytest.mark.parametrize(
    ("claim", "evidence", "names"),
    [
        ("Call Dr Ahmed.", "Call Dr Patel.", ("Ahmed",)),
        ("Signed by Lee.", "Signed by the sleep lab.", ("Lee",)),
        ("Heparin is given.", "Warfarin is given.", ("Heparin",)),
        ("He came to the US then.", "He came to us then.", ("US",)),
        ("J. Smith came.", "Karl Smith came.", ("J",)),
        ("The WHO said so.", "The one who said so.", ("WHO",)),
        ("The Use Of Heparin In Large Mills", "The use of warfarin in large mills", ("Heparin",)),
        ("HEPARIN IS USED IN LARGE MILLS", "Warfarin is used in large mills.", ("HEPARIN",)),
        ("Give vitamin B12.", "Give vitamin B6.", ("B12",)),
        ("Живёт в Москве.", "Живёт в Париже.", ("Живёт", "Москве")[1:]),
    ],
)
def test_a_name_is_missed(claim, evidence, names):
    assert missed("name", claim, evidence) == names


@pytest.mark.parametrize(
    ("claim", "evidence"),
    [
        ("Do not give it with food.", "Never give it with food."),
        ("It isn't safe.", "It is unsafe."),
        ("It is not safe.", "It is not safe, but cheap."),
        ("It is unable to fly.", "It cannot fly."),
        ("It no longer flies.", "It does not fly any more."),
        ("It not only flies but also swims.", "It flies and swims."),
        ("It flies and swims.", "It not only flies but also swims."),
        ("No, it flies.", "It flies."),
        ("Does it not fly? It flies.", "It flies."),
        ("It flies south.", "It flies south, not north."),
        ("Italy", "They did not stay in Normandy but went to Italy."),
        ("stay in Normandy", "They did not stay in Normandy."),
        ("It costs no less than $5.", "It costs at least $5."),
        ("Ship No. 5 sank.", "Ship 5 sank."),
        ("It flew without a pilot.", "It flew with no pilot."),
    ],
)
def test_a_negation_on_both_sides_or_neither_is_met(claim, evidence):
    assert missed("negation", claim, evidence) == ()


@pytest.mark.parametrize(
    ("claim", "evidence", "cue"),
    [
        ("Do not give it with food.", "Give it with food.", "not"),
        ("Give it with food.", "Do not give it with food.", "not"),
        ("It can't fly far today.", "It can fly far today.", "can't"),
        ("It never flew to Paris.", "It flew to Paris.", "never"),
        ("It flew to Paris.", "It never flew to Paris.", "never"),
        ("It flew without a pilot.", "It flew with a pilot.", "without"),
        ("The engine fails to start.", "The engine starts.", "fails to"),
        ("It is unable to fly.", "It is able to fly.", "unable"),
        ("The engine is unsafe.", "The engine is safe.", "unsafe"),
        ("The engine is safe.", "The engine is unsafe.", "unsafe"),
        ("It is a non-toxic dye.", "It is a toxic dye.", "non-"),
        ("It hardly rains in Paris.", "It rains in Paris.", "hardly"),
        ("Neither drug helps.", "The drug helps.", "neither"),
        ("It no longer flies.", "It flies.", "no"),
        ("Does it rain? It does not rain here.", "It does rain here.", "not"),
    ],
)
def test_a_negation_on_one_side_is_missed(claim, evidence, cue):
    assert cue in missed("negation", claim, evidence)


@pytest.mark.parametrize(
    ("claim", "evidence"),
    [
        ("It says “as soon as possible”.", 'It says "as soon  as\npossible", no later.'),
        ('It says "As soon as possible."', "It is done as soon as possible today."),
        ("It says «as soon as possible».", "as soon as possible"),
        ("It says “as soon … possible”.", "It says as soon as possible."),
        ("It says “as [very] soon as possible”.", "It says as quite soon as possible."),
        ("It says ‘don’t stop’.", "It says don't stop."),
        ("A 5\" pipe and a 6' pole", "Pipes and poles"),
    ],
)
def test_a_quotation_is_met(claim, evidence):
    assert missed("quotation", claim, evidence) == ()


@pytest.mark.parametrize(
    ("claim", "evidence"),
    [
        ("It says “as soon as possible”.", "It says “within an hour”."),
        ("It says “soon”.", "It says sooner."),
        ("It says “as Soon as possible”.", "It says as soon as possible."),
        ("It says “possible … soon”.", "It says as soon as possible."),
        ("It says ‘don’t stop’.", "It says do not stop."),
    ],
)
def test_a_changed_quotation_is_missed(claim, evidence):
    assert missed("quotation", claim, evidence)
