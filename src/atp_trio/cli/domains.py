"""`atp domains`: which machines a host has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from atp_trio.cli.access import within
from atp_trio.cli.host import HostAccess, HostUriArgument, connect_host
from atp_trio.cli.output import print_json, print_table
from atp_trio.errors import AtpError, DomainNotFound

if TYPE_CHECKING:
    from atp_trio.hypervisor.domain import Domain


async def domains(
    uri: HostUriArgument,
    /,
    *,
    json: Annotated[bool, Parameter(help="Print one JSON document.")] = False,
    access: HostAccess = HostAccess(),  # noqa: B008 - frozen
) -> None:
    """List a host's domains: name, state, UUID, and where their SPICE server is."""
    async with connect_host(uri, access) as host:
        with within(access.timeout, "the host did not answer"):
            found = [one for domain in await host.domains() if (one := await _describe(domain)) is not None]
    if json:
        print_json(found)
    elif found:
        print_table(("name", "state", "uuid", "spice"), [tuple(one[key] or "-" for key in _COLUMNS) for one in found])


_COLUMNS = ("name", "state", "uuid", "spice")


async def _describe(domain: Domain) -> dict[str, Any] | None:
    """What is told of a domain; None if it has gone meanwhile."""
    try:
        state = await domain.state()
    except DomainNotFound:
        return None
    try:
        # Never with its password.
        endpoint = await domain.spice_endpoint()
        spice = "by libvirt" if endpoint.uri is None else str(endpoint.uri)
    except AtpError:
        spice = None  # it has none, or does not run
    return {"name": domain.name, "state": state.name.lower(), "uuid": domain.uuid, "spice": spice}
