"""Names binary files that no loader reads, by their first bytes."""

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"

# Only used to say what a refused file is; anything missing here is "a binary file".
_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF87a", "a GIF image"),
    (b"GIF89a", "a GIF image"),
    (b"BM", "a bitmap image"),
    (b"II*\x00", "a TIFF image"),
    (b"MM\x00*", "a TIFF image"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ\x00", "an xz archive"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"\xca\xfe\xba\xbe", "a program"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"ID3", "an audio file"),
    (b"OggS", "an audio file"),
    (b"fLaC", "an audio file"),
    (b"{\\rtf", "a rich text file"),
    (b"%!PS", "a PostScript file"),
)


def name_of_binary(content: bytes) -> str | None:
    """Return what kind of unreadable file this is, or None if it may be text.

    >>> name_of_binary(b"GIF89a...")
    'a GIF image'
    """
    if content.startswith(_OLE):
        return "a document of Office 97-2003 or an Outlook message"
    for signature, kind in _SIGNATURES:
        # Two or three letters also begin texts; with those a byte that no text has must follow.
        short = len(signature) < 4 and signature.isalnum()
        if content.startswith(signature) and (not short or b"\x00" in content[:1024]):
            return kind
    if content[4:8] == b"ftyp":
        return "a video or HEIC image"
    if content[:4] == b"RIFF" and content[8:12] in (b"WAVE", b"AVI ", b"WEBP"):
        return "an image, audio or video file"
    return None


def is_old_office_encrypted(content: bytes) -> bool:
    """Tell an office document that a password protects: a compound file with one known stream."""
    return content.startswith(_OLE) and "EncryptedPackage".encode("utf-16-le") in content
