"""``coordinator verify`` and ``coordinator watch``: what an auditor types who trusts nobody.

Both need the chain, a deployments file, and somebody who serves the public records: this coordinator, a mirror or a
folder. Neither asks the operator anything else.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coordinator.shell.chain_commands import DeploymentOption, RpcOption, chain_faults, deployment_path
from coordinator.shell.terminal import FAILED, fail, say

if TYPE_CHECKING:
    from coordinator.shell.watching import Watch

RecordsOption = Annotated[
    list[str], typer.Option("--records", help="who serves records: URL of a coordinator, or a folder; several in turn")
]
ShelfOption = Annotated[Path | None, typer.Option(help="folder to keep fetched records in")]
JsonOption = Annotated[bool, typer.Option("--json", help="one JSON object a line")]
POLL_S = 5
MOVING_S = 0.5


def _watch(
    rpc: list[str],
    deployment: Path | None,
    records: list[str],
    shelf: Path | None,
    tell: Callable[[str, str], None],
    key: Path | None = None,
    accounts: tuple[int, ...] = (),
) -> Watch:
    from coordinator.shell.chain_client import ChainClient
    from coordinator.shell.deployment import load_deployment
    from coordinator.shell.operator_config import read_key
    from coordinator.shell.public_records import PublicRecords
    from coordinator.shell.watching import Watch

    found = load_deployment(deployment_path(rpc, deployment))
    private_key = None if key is None else read_key(key)
    journal = None if key is None else key.with_suffix(".journal")
    client = ChainClient(rpc, found, key=private_key, journal=journal, alarm=tell)
    return Watch(client, PublicRecords(records, shelf), tell, accounts)


def _teller(as_json: bool) -> Callable[[str, str], None]:
    def tell(word: str, text: str) -> None:
        print(json.dumps({"event": word, "text": text}) if as_json else f"{word}: {text}", flush=True)

    return tell


def verify(
    header: Annotated[int | None, typer.Argument(help="index of a header on the chain; by default all")] = None,
    *,
    rpc: RpcOption,
    records: RecordsOption,
    deployment: DeploymentOption = None,
    shelf: ShelfOption = None,
    as_json: JsonOption = False,
) -> None:
    """Recompute posted headers from the public record by every rule; 1 when one is wrong or cannot be judged."""
    from coordinator.watch.watcher import Ask, File, Warn

    tell = _teller(as_json)
    faults = 0
    with chain_faults():
        watch = _watch(rpc, deployment, records, shelf, tell)
        standing = watch.read()
        if header is not None and header >= standing:
            fail(f"there is no header {header}: {standing} stand on the chain", FAILED)
        for action in watch.actions():
            about = {File: "wrong", Ask: "withheld", Warn: "warning"}.get(type(action))
            if about is None or not isinstance(action, File | Ask | Warn):
                continue
            index = action.index if isinstance(action, File) else None
            if header is None or index in (None, header):
                faults += 1
                tell(about, f"header {action.index}: {action.text}" if isinstance(action, File) else action.text)
    judged = watch.watcher.judged
    which = f"{judged} of {standing} headers" if header is None else f"header {header} and the {header} before it"
    if faults or (watch.watcher.behind and (header is None or judged <= header)):
        fail(f"{which} judged, {faults} faults", FAILED)
    tell("fine", f"{which} judged: every rule holds")


def watch(
    rpc: RpcOption,
    records: RecordsOption,
    deployment: DeploymentOption = None,
    key: Annotated[Path | None, typer.Option(help="key file of whoever challenges; without it only tells")] = None,
    account: Annotated[list[int] | None, typer.Option(help="whose leaves to demand where a record is withheld")] = None,
    shelf: ShelfOption = None,
    finality_depth: Annotated[int, typer.Option(min=0, help="blocks that must follow before a log counts")] = 0,
    once: Annotated[bool, typer.Option(help="judge what stands and end")] = False,
    as_json: JsonOption = False,
) -> None:
    """Judge every header as it is posted, and file challenges and demands without being told."""
    from coordinator.shell.chain_port import RemoteChainError

    tell = _teller(as_json)
    with chain_faults():
        watching = _watch(rpc, deployment, records, shelf, tell, key, tuple(account or ()))
        if key is not None:
            watching.allow_fees()
        else:
            say("coordinator: without --key nothing is filed, only told")
        while True:
            try:
                moving = _look(watching, finality_depth, tell, acts=key is not None)
            except RemoteChainError as error:
                if once:
                    raise
                tell("unreachable", str(error))
                moving = False
            if once and not moving:
                return
            time.sleep(MOVING_S if moving else POLL_S)


def _look(watching: Watch, finality_depth: int, tell: Callable[[str, str], None], *, acts: bool) -> bool:
    from coordinator.watch.watcher import Ask, Expire, File, Warn

    before = watching.watcher.judged
    watching.read(finality_depth)
    for action in watching.actions():
        if acts or isinstance(action, Warn):
            watching.act(action)
        elif isinstance(action, File):
            tell("wrong", f"header {action.index}: {action.text} ({action.call.contract}.{action.call.function})")
        elif isinstance(action, Ask):
            tell("withheld", action.text)
        elif isinstance(action, Expire):
            tell("unanswered", f"demand {action.number} about header {action.posted.index}")
    if watching.watcher.judged > before:
        tell("judged", f"{watching.watcher.judged} headers in all")
    return watching.step() if acts else False
