import time

import pytest

from indexer.load.encoding import decode
from rag.errors import UnsupportedFormat

GERMAN = "Die Tageshöchstdosis für Erwachsene beträgt 4 g. Größere Abstände wählen. Ärzte prüfen."
WESTERN = {
    "German": GERMAN,
    "short": "Größe: 5 mm",
    "one word": "Café",
    "French": "La dose maximale est de 4 g par jour. Ne pas dépasser; après évaluation, réduire.",
    "Spanish": "Probar los siguientes términos: ñandú, ándale, ésta, índice, cargó, último",
    "Portuguese": "A dose máxima é de 4 g por dia. Não exceder. Atenção às contraindicações.",
    "Swedish": "Högsta dygnsdos är 4 g för vuxna. Får ej överskridas. Åtgärder måste dokumenteras.",
    "superscripts": "Je m² höchstens 5 cm³, s. Anm.¹ und Anm.², d. h. ½ Tablette à 3 µg.",
    "Icelandic": "Hámarksskammtur er 4 g á dag. Það má ekki fara yfir þetta. Geymið við stofuhita.",
    "English": "The price is £ 45 in the café; keep below 25 °C ± 2 at all times. 5 µg, ½ tablet.",
}


@pytest.mark.parametrize("language", WESTERN)
@pytest.mark.parametrize("copies", [1, 300])
def test_latin_1(language, copies):
    text = f"{WESTERN[language]}\n" * copies
    assert decode(text.encode("latin-1"), "a.txt") == text


def test_windows_quotes_and_dashes():
    text = "He said “hello” — and that’s all about it. The price is 5 €…"
    assert decode(text.encode("cp1252"), "a.txt") == text


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp1251", "Максимальная суточная доза для взрослых составляет 4 г. Не превышать."),
        ("koi8-r", "Максимальная суточная доза для взрослых составляет 4 г. Не превышать."),
        ("cp1250", "Maksymalna dawka dobowa dla dorosłych wynosi 4 g. Żółć, gęś, źrebię, ćma."),
        ("cp1254", "Yetişkinler için günlük en yüksek doz 4 gramdır. Aşmayınız. Şöyle ğ ı İ."),
        ("cp1253", "Η μέγιστη ημερήσια δόση για ενήλικες είναι 4 g. Μην υπερβαίνετε."),
        ("cp1255", "המינון היומי המרבי למבוגרים הוא 4 גרם. אין לחרוג."),
        ("cp1256", "الجرعة اليومية القصوى للبالغين هي 4 غرام. لا تتجاوز."),
        ("shift_jis", "成人の一日最大投与量は4gです。これを超えないでください。"),
        ("iso2022_jp", "成人の一日最大投与量は4gです。これを超えないでください。"),
        ("gb18030", "成人每日最大剂量为4克。请勿超过。" * 5),
        ("big5", "成人每日最大劑量為4克。請勿超過。這是一個測試文件。"),
        ("euc-kr", "성인의 하루 최대 용량은 4g입니다. 초과하지 마십시오."),
    ],
)
def test_other_scripts(encoding, text):
    assert decode(text.encode(encoding), "a.txt") == text


@pytest.mark.parametrize(
    "text", [GERMAN, "Доза для взрослых: 4 г.\n" * 3, "最大剂量为 4 克。\n" * 9]
)
@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
)
def test_unicode_with_and_without_byte_order_mark(text, encoding):
    assert decode(text.encode(encoding), "a.txt") == text


def test_big_endian_with_byte_order_mark():
    assert decode(b"\xfe\xff" + GERMAN.encode("utf-16-be"), "a.txt") == GERMAN


def test_stray_nuls_leave_utf_8_alone():
    assert decode(b"Dose\x00 is 4\x00 g, caf\xc3\xa9", "a.txt") == "Dose\x00 is 4\x00 g, café"


def test_a_few_damaged_bytes_leave_utf_8_alone():
    text = "Größere Abstände für Ärzte. " * 20
    damaged = text.encode() + b"\xff" + text.encode()
    assert decode(damaged, "a.txt") == f"{text}\ufffd{text}"


def test_declared_encoding_decides_where_the_bytes_leave_it_open():
    text = "ő és ű"
    assert decode(text.encode("iso8859_2"), "a.html", declared="iso-8859-2") == text
    assert decode(GERMAN.encode(), "a.html", declared="iso-8859-1") == GERMAN
    assert decode(GERMAN.encode("latin-1"), "a.html", declared="no-such-code") == GERMAN
    assert decode(GERMAN.encode("latin-1"), "a.html", declared="hex") == GERMAN


def test_binary_is_refused(make):
    content = bytes(range(256)) * 20
    with pytest.raises(UnsupportedFormat, match=r"^x\.bin: is a binary file"):
        decode(content, "x.bin")


def test_one_accent_at_the_end_of_a_large_file():
    content = b"plain words only, " * 2_000_000 + "für".encode("latin-1")
    started = time.process_time()
    assert decode(content, "a.txt").endswith("only, für")
    assert time.process_time() - started < 3


def test_characters_of_two_bytes_on_one_long_line():
    text = "最大剂量为克请勿超过" * 20_000
    assert decode(text.encode("gb18030"), "a.txt") == text


def test_large_latin_1_file_is_guessed_from_a_sample():
    content = (GERMAN + "\n").encode("latin-1") * 200_000  # 18 MB
    started = time.process_time()
    assert decode(content, "a.txt").startswith(GERMAN)
    assert time.process_time() - started < 3
