import pytest

from rag.verify.guards import check


def numbers_missed(claim, evidence):
    return next((guard.missing for guard in check(claim, [evidence]) if guard.name == "number"), ())


@pytest.mark.parametrize(
    ("claim", "evidence"),
    [
        ("1,000", "1000"),
        ("1000", "one thousand"),
        ("one thousand", "1k"),
        ("1 thousand", "1,000"),
        ("1 000", "1,000"),
        ("1\u2009000", "1000"),
        ("2.5 million", "2,500,000"),
        ("2,5", "2.5"),
        ("1.234.567", "1,234,567"),
        ("twenty-five", "25"),
        ("one hundred and two", "102"),
        ("two hundred thousand", "200,000"),
        ("a dozen", "12"),
        ("half", "1/2"),
        ("half", "50 %"),
        ("two thirds", "2/3"),
        ("two and a half", "2.5"),
        ("2½ hours", "150 minutes"),
        ("2 1/2", "2.5"),
        ("twice", "2 times"),
        ("5 %", "5 percent"),
        ("five per cent", "5%"),
        ("5 km", "5,000 m"),
        ("5 kilometres", "5 km"),
        ("a 5-km run", "5 km"),
        ("500 mg", "0.5 g"),
        ("10 µg", "10 mcg"),
        ("10 μg", "10 µg"),
        ("2 hours", "120 minutes"),
        ("two weeks", "14 days"),
        ("5 MG", "5 mg"),
        ("20 °C", "20 degrees Celsius"),
        ("20 °C", "68 °F"),
        ("3 square kilometres", "3 km²"),
        ("100 km/h", "100 kilometres per hour"),
        ("5 mg per day", "5 mg daily"),
        ("5 mg per day", "5 mg/day"),
        ("5 mg a day", "5 mg every day"),
        ("5 mg/kg/day", "5 mg per kg per day"),
        ("100 deaths per day", "100 deaths a day"),
        ("5 mg", "5 mg per day"),
        ("$5", "5 USD"),
        ("$5", "5 dollars"),
        ("$2.5 million", "2,500,000 dollars"),
        ("€5", "5 euros"),
        ("5 pounds", "£5"),
        ("5 pounds", "5 lb"),
        ("3rd", "third"),
        ("twenty-first", "21st"),
        ("3", "3rd"),
        ("10-15", "10 to 15"),
        ("10 mg", "10-15 mg"),
        ("10–15 mg", "10 mg to 15 mg"),
        ("between 10 and 15 mg", "10 mg and 15 mg"),
        ("$5–10 million", "5 million to 10 million dollars"),
        ("−5", "-5"),
        ("minus 5", "-5"),
        ("5", "5 km"),
        ("٣ mg", "3 mg"),
        ("1e3", "1000"),
        ("3 pm", "15:00"),
        ("10:30", "10:30 a.m."),
        ("version 1.2.3", "1.2.3"),
        ("no one", "nobody"),
        ("one another", "each other"),
        ("IPv6 and B12", "IPv6 and B12"),
    ],
)
def test_a_number_is_met(claim, evidence):
    assert numbers_missed(f"It is {claim}.", f"We say {evidence}, then.") == ()


@pytest.mark.parametrize(
    ("claim", "evidence"),
    [
        ("5 g", "4 g"),
        ("5 mg", "5 g"),
        ("5 mg", "5 mL"),
        ("5 mg", "5"),
        ("5 mg per day", "5 mg per year"),
        ("5 mg per day", "5 mg"),
        ("100 deaths per day", "100 deaths per year"),
        ("5 %", "5"),
        ("$5", "€5"),
        ("$5", "5"),
        ("2,000", "1,987"),
        ("2.5 million", "2.5 billion"),
        ("2.5 million", "2.5"),
        ("twenty-five", "twenty-six"),
        ("twenty-five", "twenty and five"),
        ("half", "a third"),
        ("two thirds", "2 or 3"),
        ("third", "fourth"),
        ("third", "3"),
        ("twice", "three times"),
        ("hundreds", "thousands"),
        ("10–15 mg", "10 g to 15 mg"),
        ("-5", "5"),
        ("5", "-5"),
        ("5", "15 and 50 and 2.5"),
        ("3 pm", "3 am"),
        ("version 1.2.3", "1.2.4"),
        ("5 m", "5 million"),
        ("1e3", "1e4"),
        ("9" * 400, "9" * 399),
    ],
)
def test_a_number_is_missed(claim, evidence):
    assert numbers_missed(f"It is {claim}.", f"We say {evidence}, then.")


def test_what_is_missed_is_named_as_the_claim_writes_it():
    assert numbers_missed("Give 1,000 mg, then 5 g.", "Give 5 g.") == ("1,000 mg",)
