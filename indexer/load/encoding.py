"""Turns bytes of unknown encoding into text."""

import codecs
import re
import unicodedata

from charset_normalizer import from_bytes

from rag.errors import UnsupportedFormat

_SAMPLE_BYTES = 64 * 1024

# UTF-32 first: its little-endian mark begins with UTF-16's.
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

# Western ones are told without the library; without this list it answers with code pages that no
# one has used for decades.
_CANDIDATES = [
    *("cp1250", "cp1251", "cp1253", "cp1255", "cp1256"),
    *("iso8859_2", "iso8859_5", "iso8859_7", "koi8_r", "koi8_u", "tis_620"),
    *("cp932", "euc_jp", "iso2022_jp", "gb18030", "big5", "cp949"),
    *("cp866", "cp850", "mac_roman"),
]

_BEYOND_ASCII = re.compile(rb"[\x80-\xff]")
_BLANK = re.compile(rb"[ \n]")
_CONTROL_BYTES = bytes(set(range(1, 0x20)) - {0x09, 0x0A, 0x0C, 0x0D}) + b"\x7f"
_ODD = frozenset(["Cn", "Co", "Cs", "Cc"])
_COMMON = re.compile("[ -~\t\n\r\u3000-\u3002]")
# Read as Windows-1252, other code pages put symbols inside words (not behind them, as in m³), or
# make words without any plain letter.
_SYMBOL_IN_WORD = re.compile(r"[A-Za-zÀ-ÿ][¡-©«-´¶-¹»-¿×÷][A-Za-zÀ-ÿ]")
_WORD = re.compile(r"[A-Za-zÀ-ÖØ-öø-ÿŠšŽžŒœŸ]+")


def decode(content: bytes, name: str, *, declared: str | None = None) -> str:
    """Return the text of a file: by byte order mark, as UTF-8, or by the library's guess.

    Args:
        content: the bytes.
        name: of the file, for the message.
        declared: encoding that the file names itself, tried after UTF-8.

    Raises:
        UnsupportedFormat: the bytes are no text in any known encoding.
    """
    for mark, encoding in _BYTE_ORDER_MARKS:
        if content.startswith(mark):
            return content.decode(encoding, "replace")
    if b"\x1b$" in content[:_SAMPLE_BYTES]:
        # Bytes of this encoding are ASCII, so they would pass for UTF-8.
        japanese = _try(content, "iso2022_jp_ext")
        if japanese is not None:
            return japanese
    nuls, controls = _share(content, b"\x00"), _share(content, _CONTROL_BYTES)
    text = _try(content, "utf-8")
    if text is not None and nuls < 0.25 and controls < 0.02:
        return text
    pairs = _utf16_without_mark(content) if nuls + controls > 0.01 else None
    if pairs:
        return content.decode(pairs, "replace")
    if text is not None and nuls + controls < 0.3:
        return text
    if nuls + controls > 0.02:
        raise UnsupportedFormat(
            f"{name}: is a binary file of a type that can't be read; convert it to PDF or text"
        )
    text = _try(content, declared) if declared else None
    if text is not None:
        return text
    damaged = content.decode("utf-8", "replace")
    if _mostly_utf8(damaged):
        return damaged
    return _decode_legacy(content, name)


def _try(content: bytes, encoding: str) -> str | None:
    try:
        return content.decode(encoding)
    except (UnicodeError, LookupError):
        return None


def _share(content: bytes, wanted: bytes) -> float:
    sample = content[:_SAMPLE_BYTES]
    return (len(sample) - len(sample.translate(None, wanted))) / max(len(sample), 1)


def _utf16_without_mark(content: bytes) -> str | None:
    sample = content[: min(len(content), _SAMPLE_BYTES) & ~1]
    best, most = None, 0.02
    for encoding in ("utf-16-le", "utf-16-be"):
        text = sample.decode(encoding, "replace")
        # In the wrong byte order text lands among rare and unassigned characters; in the right
        # one every script has blanks, digits or full stops.
        odd = sum(unicodedata.category(c) in _ODD and c not in "\t\n\r\f" for c in text)
        common = len(_COMMON.findall(text)) / max(len(text), 1)
        if odd + text.count("\ufffd") <= 1 + 0.01 * len(text) and common > most:
            best, most = encoding, common
    return best


def _mostly_utf8(text: str) -> bool:
    """Tell a UTF-8 text with a few damaged bytes from a text in another encoding."""
    damaged = text.count("\ufffd")
    if damaged * 20 > len(text):
        return False
    good = len(text) - len(text.encode("ascii", "ignore")) - damaged
    return good > 20 * damaged


def _decode_legacy(content: bytes, name: str) -> str:
    """Read an encoding of one language area.

    The library alone takes Latin-1 for something else in half of all short western texts (in 9 of
    16 of ours), so it is asked only where the text can't be western.
    """
    sample = _telling_sample(content)
    encoding = _western(sample)
    if encoding is None:
        guess = from_bytes(sample, cp_isolation=_CANDIDATES, enable_fallback=False).best()
        if guess is None:
            raise UnsupportedFormat(
                f"{name}: is text in an encoding that could not be recognised; save it as UTF-8"
            )
        encoding = guess.encoding
    text = _try(content, encoding)
    # What Windows-1252 leaves undefined is a control character in Latin-1.
    if text is None:
        text = content.decode("latin-1" if encoding == "cp1252" else encoding, "replace")
    return text


def _telling_sample(content: bytes) -> bytes:
    """Return up to 64 KiB from around the bytes beyond ASCII.

    Cuts are made next to ASCII bytes, so that no character of several bytes is torn.
    """
    sample = bytearray()
    end = 0
    while len(sample) < _SAMPLE_BYTES and (found := _BEYOND_ASCII.search(content, end)):
        start = max(end, found.start() - 200)
        if start > end:
            sample += b"\n"
        blank = _BLANK.search(content, found.start() + 400, found.start() + _SAMPLE_BYTES)
        end = blank.end() if blank else found.start() + _SAMPLE_BYTES
        sample += content[start:end]
    return bytes(sample)


def _western(sample: bytes) -> str | None:
    """Return cp1252, which holds all letters of Latin-1, or cp1254, or None for other areas."""
    text = _try(sample, "cp1252")
    if text is None:
        return None
    accented = [word for word in _WORD.findall(text) if not word.isascii()]
    foreign = sum(not re.search("[A-Za-z]", word) and len(word) > 1 for word in accented)
    if (foreign + len(_SYMBOL_IN_WORD.findall(text))) * 5 > len(accented):
        return None
    # Turkish letters stand where Icelandic has these, but Icelandic also has the accents.
    return "cp1254" if re.search("[ðþýÐÞÝ]", text) and not re.search("[áíæ]", text) else "cp1252"
