"""rag audit checkpoint, keys, proofs, bundle; rag verify-bundle: evidence for others."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from api.commands.auditing import RecordArgument
from api.commands.shared import HomeOption, JsonOption, counted, emit, opened, printer
from rag.errors import NotFound

_NO_KEYS = "the log has no key yet: `rag audit checkpoint` makes the first and signs with it"


def checkpoint(
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="A new file for it.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Sign the log as it is now and print the checkpoint; the first one makes the log's key.

    Give it to somebody who is not you: it holds you to every record up to there.
    """
    from api.files import check_new, write_new
    from knowledge_bases.audit import checkpoint as checkpoints
    from knowledge_bases.bundling import signer

    if out is not None:
        check_new(out)
    with opened(home) as found:
        note = found.audit.keeping.checkpoint()
        key = signer(found, note)
    signed = checkpoints.read(note)
    if out is not None:
        write_new(out, note)
    if as_json:
        emit({"note": note, "size": signed.size, "root": signed.root.hex(), "key": str(key)})
    elif out is not None:
        printer().print(
            f"checkpoint of {counted(signed.size, 'record')} written to {escape(str(out))}"
        )
    else:
        typer.echo(note, nl=False)


def keys(
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="keys.json", help="A new file for the list, to publish."),
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the log's public keys, oldest first, with the sizes of the log that each signs."""
    from api.files import check_new, write_new

    if out is not None:
        check_new(out)
    with opened(home) as found:
        listed = found.audit.keeping.verifier_keys()
        if not listed:
            raise NotFound(_NO_KEYS)
        published = found.audit.keeping.keys.published()
    if out is not None:
        write_new(out, published)
    if as_json:
        emit(json.loads(published))
        return
    for key in listed:
        until = "in use" if key.until is None else f"until {key.until}"
        typer.echo(f"{key.key}  from {key.since}, {until}, made {key.created_at}")
    if out is not None:
        printer().print(f"written to {escape(str(out))}; publish it, it has no secrets")


def rotate_key(
    lost: Annotated[
        bool,
        typer.Option("--lost", help="The old key is lost or no longer trusted: it signs no more."),
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Replace the signing key; the next checkpoint, signed at once, carries both signatures."""
    with opened(home) as found:
        keeping = found.audit.keeping
        if not keeping.verifier_keys():
            raise NotFound(_NO_KEYS)
        key = keeping.rotate(lost=lost)
        listed = next(one for one in keeping.verifier_keys() if one.key == key)
    if as_json:
        emit({"key": str(key), "from": listed.since, "lost": lost})
        return
    typer.echo(str(key))
    how = (
        "the old key vouches for nothing later, and nothing links the new key to it: hand the new "
        "one over as you did the first"
        if lost
        else "the checkpoint signed just now carries both signatures"
    )
    typer.echo(f"signs from size {listed.since} on; {how}; publish the list: rag audit keys --out")


def proof(record_id: RecordArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Print the proof that a record is in the log, up to a signed checkpoint (RFC 6962).

    Where no checkpoint has the record yet, one is signed. A leaf holds nothing personal, so
    nothing is opened or recorded.
    """
    from api.audit_schemas import AuditProof
    from knowledge_bases.proving import prove_inclusion

    with opened(home) as found:
        row = found.store.log.find(record_id)
        proven = AuditProof.of(row, prove_inclusion(found, row))
    if as_json:
        emit(proven)
        return
    typer.echo(f"leaf       {proven.leaf}")
    typer.echo(f"leaf hash  {proven.leaf_hash}")
    typer.echo(f"index      {proven.index} of {proven.size}")
    for number, node in enumerate(proven.hashes, start=1):
        typer.echo(f"hash {number:<5} {node}")
    typer.echo(f"root       {proven.root}\n\n{proven.checkpoint or ''}", nl=False)


def consistency(
    first: Annotated[
        int, typer.Argument(min=0, metavar="FIRST", help="Size of an earlier checkpoint.")
    ],
    second: Annotated[
        int | None,
        typer.Argument(min=0, metavar="[SECOND]", help="Of a later one; by default the newest."),
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the proof that the log only grew between two sizes (RFC 6962)."""
    from api.audit_schemas import ConsistencyProof
    from knowledge_bases.proving import prove_consistency

    with opened(home) as found:
        proven = ConsistencyProof.of(prove_consistency(found, first, second))
    if as_json:
        emit(proven)
        return
    typer.echo(f"root of {proven.first:<6} {proven.first_root}")
    for number, node in enumerate(proven.hashes, start=1):
        typer.echo(f"hash {number:<9} {node}")
    typer.echo(f"root of {proven.second:<6} {proven.second_root}")


def bundle(
    record_id: RecordArgument,
    out: Annotated[Path, typer.Option("--out", metavar="FILE.zip", help="A new file for it.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write all that an outsider needs to verify a record: a zip; that you did is recorded.

    Where no checkpoint has the record yet, one is signed.
    """
    from api.files import check_new
    from knowledge_bases.audit.bundle import write_bundle
    from knowledge_bases.bundling import bundle_parts

    check_new(out)
    with opened(home) as found:
        row = found.store.log.find(record_id)
        parts = bundle_parts(found, row)
        write_bundle(out, parts)
    key = str(parts.key)
    if as_json:
        emit({"file": str(out), "id": row.id, "key": key, "texts": len(parts.texts)})
        return
    typer.echo(f"record {row.id} with {counted(len(parts.texts), 'cited text')} written to {out}")
    typer.echo(f"verify it: rag verify-bundle {out} --key '{key}'")


def verify_bundle(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The bundle.")],
    key: Annotated[
        str | None,
        typer.Option("--key", metavar="KEY|keys.json", help="The operator's, got elsewhere."),
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Verify a bundle: needs no home, no database and no models.

    The same as `python -m knowledge_bases.audit.verify_bundle`, a file that stands alone.
    Exit code 4 if anything does not hold, 3 if there is no such file.
    """
    from knowledge_bases.audit.verify_bundle import main

    options = [f"--key={key}"] if key is not None else []
    code = main([*options, *(["--json"] if as_json else []), "--", file])
    if code:
        raise typer.Exit(code)
