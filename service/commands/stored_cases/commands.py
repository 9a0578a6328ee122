"""The ``coldspot cases`` commands: parse, call, print."""

from __future__ import annotations

from typing import Annotated

import typer

from engine.command_line import explain_exit_codes, print_json, print_text
from service.commands.options import (
    AddressOrHere,
    AsJson,
    TlsCa,
    TlsCertificate,
    TlsKey,
    TlsServerName,
    TokenFile,
)
from service.commands.output import errors_shown, print_report
from service.credentials import Access

_EXPLANATION = explain_exit_codes(0, 1, 2, 6)

app = typer.Typer(
    help="What a service has stored, and its removal; without --server the service that the settings describe.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.command("list", epilog=_EXPLANATION)
def list_cases(
    server: AddressOrHere = None,
    tls_ca: TlsCa = None,
    tls_certificate: TlsCertificate = None,
    tls_key: TlsKey = None,
    tls_server_name: TlsServerName = "",
    token_file: TokenFile = None,
    json_output: AsJson = False,
) -> None:
    """List the stored cases, the newest first."""
    with errors_shown(as_json=json_output):
        from service.commands.stored_cases import reports

        access = Access(tls_ca, tls_certificate, tls_key, tls_server_name, token_file)
        print_report(reports.list_cases(server, access), reports.cases_table, as_json=json_output)


@app.command(epilog=_EXPLANATION)
def show(
    case_id: Annotated[str, typer.Argument(help="Id of the case, as `cases list` prints it.")],
    server: AddressOrHere = None,
    tls_ca: TlsCa = None,
    tls_certificate: TlsCertificate = None,
    tls_key: TlsKey = None,
    tls_server_name: TlsServerName = "",
    token_file: TokenFile = None,
    json_output: AsJson = False,
) -> None:
    """Print what is stored for a case."""
    with errors_shown(as_json=json_output):
        from service.commands.stored_cases import reports
        from service.commands.terminal import fact_table

        access = Access(tls_ca, tls_certificate, tls_key, tls_server_name, token_file)
        print_report(
            reports.show_case(server, access, case_id),
            lambda report: fact_table(f"Case {case_id}", reports.case_rows(report)),
            as_json=json_output,
        )


@app.command(epilog=_EXPLANATION)
def delete(
    case_ids: Annotated[list[str], typer.Argument(help="Ids of the cases.")],
    server: AddressOrHere = None,
    tls_ca: TlsCa = None,
    tls_certificate: TlsCertificate = None,
    tls_key: TlsKey = None,
    tls_server_name: TlsServerName = "",
    token_file: TokenFile = None,
    json_output: AsJson = False,
) -> None:
    """Remove cases with their images and answers."""
    with errors_shown(as_json=json_output):
        from service.commands.stored_cases import reports

        access = Access(tls_ca, tls_certificate, tls_key, tls_server_name, token_file)
        report = reports.delete_cases(server, access, case_ids)
        if json_output:
            print_json(report)
        else:
            print_text(f"deleted: {', '.join(report['deleted'])}\n")
