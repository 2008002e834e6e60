import email.policy
from datetime import date
from email.message import EmailMessage

import pytest

from indexer.load.loaded import LoadFailure


def message(body="Body text", subject="Grüße – new dose"):
    mail = EmailMessage()
    mail["From"] = "Jörg Weiß <joerg@example.org>"
    mail["To"] = "ward@example.org"
    mail["Date"] = "Mon, 15 Jan 2024 10:00:00 +0100"
    mail["Subject"] = subject
    mail.set_content(body)
    return mail


HEADERS = (
    "From: Jörg Weiß <joerg@example.org>\nTo: ward@example.org\n"
    "Date: Mon, 15 Jan 2024 10:00:00 +0100\nSubject: Grüße – new dose"
)


def test_headers_body_and_date(load):
    document = load(message().as_bytes(), "a.eml")
    assert document.text == f"{HEADERS}\n\nBody text"
    assert (document.title, document.date) == ("Grüße – new dose", date(2024, 1, 15))
    assert (document.format, document.uri) == ("eml", None)


def test_plain_body_is_preferred_to_html(load):
    mail = message()
    mail.add_alternative("<p>Body <b>html</b></p>", subtype="html")
    assert load(mail.as_bytes(), "a.eml").text == f"{HEADERS}\n\nBody text"


def test_html_body_when_there_is_no_other(load):
    mail = message()
    mail.set_content("<table><tr><td><p>First</p><p>Second</p></table>", subtype="html")
    assert load(mail.as_bytes(), "a.eml").text.endswith("\n\nFirst Second")


def test_text_around_an_attachment_is_body_too(load_all):
    source = b"From: a@b.c\nSubject: x\nContent-Type: multipart/mixed; boundary=B\n\n"
    for part in (
        b"\n\nbefore",
        b"Content-Disposition: attachment; filename=a.txt\n\nx",
        b"\n\nafter",
    ):
        source += b"--B\n" + part + b"\n"
    body, attached = load_all(source + b"--B--\n", "a.eml")
    assert body.text.endswith("\n\nbefore\n\nafter")
    assert attached.uri == "a.eml/a.txt"


def test_attachments_are_documents_of_their_own(load_all, make):
    mail = message()
    mail.add_alternative("<p>Body <img src=cid:1></p>", subtype="html")
    mail.add_attachment(
        make.pdf([["Page"]]), maintype="application", subtype="pdf", filename="ä.pdf"
    )
    mail.add_attachment(b"\x89PNG\r\n\x1a\n", maintype="image", subtype="png", filename="p.png")
    mail.add_attachment("one", filename="../../etc/n.txt")
    mail.add_attachment("two", filename="n.txt")
    mail.add_attachment(b"", maintype="application", subtype="pdf", filename="empty.pdf")
    mail.add_attachment(
        make.zip({"in/a.txt": b"zipped", "../b.txt": b"evil"}),
        maintype="application",
        subtype="zip",
        filename="z.zip",
    )
    body, pdf, png, one, two, empty, evil, zipped = load_all(mail.as_bytes(), "box/a.eml")
    assert body.text == f"{HEADERS}\n\nBody text"
    assert (pdf.uri, pdf.text, pdf.format) == ("box/a.eml/ä.pdf", "Page", "pdf")
    assert png == LoadFailure("box/a.eml/p.png", "is a PNG image; convert it to PDF or text")
    assert (one.uri, one.text) == ("box/a.eml/n.txt", "one\n")
    assert two.uri != one.uri
    assert two.text == "two\n"
    assert empty == LoadFailure("box/a.eml/empty.pdf", "is empty; nothing to read")
    assert isinstance(evil, LoadFailure)
    assert (zipped.uri, zipped.text) == ("box/a.eml/z.zip/in/a.txt", "zipped")


@pytest.mark.parametrize("disposition", ["inline", "attachment"])
def test_an_image_that_the_body_shows_is_no_attachment(load_all, disposition):
    mail = message()
    mail.set_content("<p>Regards <img src='cid:logo'></p>", subtype="html")
    mail.add_related(
        b"\x89PNG\r\n\x1a\n",
        "image",
        "png",
        cid="<logo>",
        filename="logo.png",
        disposition=disposition,
    )
    assert len(load_all(mail.as_bytes(), "a.eml")) == 1


def test_messages_in_messages_end_somewhere(load_all):
    mail = message("level 0")
    for level in range(1, 6):
        outer = message(f"level {level}")
        outer.add_attachment(mail)
        mail = outer
    documents = load_all(mail.as_bytes(), "a.eml")
    assert [document.text[-7:] for document in documents[:3]] == ["level 5", "level 4", "level 3"]
    [failure] = documents[3:]
    assert isinstance(failure, LoadFailure)
    assert "nested too deeply" in failure.reason
    assert documents[1].uri == "a.eml/part-2.eml"


def test_parts_in_encodings_of_their_own(load_all):
    source = b"From: a@b.c\nSubject: x\nContent-Type: multipart/mixed; boundary=B\n\n"
    for charset, text in (("koi8-r", "Доза 4 г"), ("utf-8", "größer"), ("x-none", "\x80\x9d\xff")):
        encoded = text.encode("latin-1" if charset == "x-none" else charset)
        source += b"--B\nContent-Type: text/plain; charset=%s\n\n%s\n" % (charset.encode(), encoded)
    [document] = load_all(source + b"--B--\n", "a.eml")
    assert "Доза 4 г\n\ngrößer\n\n" in document.text


@pytest.mark.parametrize(
    "source",
    [
        b"From: a@b.c\nSubject: x\nContent-Type: multipart/mixed; boundary=B\n\n--B\n\nkept",
        b"From: a@b.c\nSubject: x\nContent-Type: multipart/mixed\n\nkept",
        b"From: a@b.c\nSubject: x\nContent-Type: text/plain; charset=nonsense\n\nkept",
        b"From: a@b.c\nSubject: =?utf-8?b?!!!?= =?x-no?q?y?=\nDate: never\n\nkept",
        b"From: a@b.c\nSubject: x\nContent-Transfer-Encoding: base64\n\na2VwdA=",
        b"From: a@b.c\nSubject: \xff\xfe\nContent-Type: text/plain; charset=utf-8\n\nkept \xe9",
        b"From: a@b.c\nSubject: x\nContent-Type: ;;;=\n\nkept",
        b"From: a@b.c\nSubject: x\nContent-Disposition: attachment; filename*=x''%zz\n\nkept",
    ],
)
def test_broken_mime_is_survived(load_all, source):
    documents = load_all(source, "a.eml")
    assert "kept" in documents[-1].text
    assert documents[0].text.startswith("From: a@b.c")


def test_windows_line_ends_and_long_headers(load):
    mail = message(subject="long " * 40)
    document = load(mail.as_bytes(policy=email.policy.SMTP), "a.eml")
    assert "\nSubject: " + "long " * 39 + "long\n\nBody" in document.text


def test_deeply_nested_parts(load_all):
    parts = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n) for n in range(5_000)
    )
    documents = []
    try:
        documents = load_all(b"From: a@b.c\nSubject: x\n" + parts + b"\ntext", "a.eml")
    except Exception as error:
        assert type(error).__name__ == "LimitExceeded"  # noqa: PT017 - either is right
    assert all(not isinstance(document, Exception) for document in documents)
