"""Views of patches, from what is on record of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from handshake.patch_document import DOCUMENTS, PatchDocument
from master.ledger.rows.records import Patch, PatchNode
from master.services.core.patch_views import (
    NodeReleaseView,
    PatchDetails,
    PatchNodeView,
    PatchPlanView,
    PatchView,
)
from master.services.patches.progress import Progress, progress_of

_BAD = ("rollback_failed", "failed", "rolled_back")
_UNTOLD = ("skipped", "waiting", "absent")
"""States in which a node does not have the patch, and never had it."""


def document_of(patch: Patch) -> PatchDocument:
    """Return the document of a patch that was accepted."""
    return DOCUMENTS.decode(patch.document)


def patch_view(patch: Patch, nodes: Iterable[PatchNode], keys: Mapping[str, str]) -> PatchView:
    """Return a patch as it is listed.

    Parameters
    ----------
    keys
        Names of keys by their ids.
    """
    progress = progress_of(patch)
    return PatchView(
        id=patch.id,
        name=patch.name,
        version=patch.version,
        channel=patch.channel,
        author=patch.author,
        key=keys.get(patch.key_id, patch.key_id),
        state=patch.state,
        wave=wave_text(patch, progress),
        counts=dict(Counter(node.state for node in nodes)),
        reason=patch.reason,
        since=patch.changed_at.timestamp(),
        watched_since=progress.soak_began,
        changed_by=patch.changed_by,
        received_at=patch.received_at.timestamp(),
        received_from=patch.received_from,
        finished_at=None if patch.finished_at is None else patch.finished_at.timestamp(),
        channel_id=patch.message_channel_id,
        message_id=patch.message_id,
        approved_by=progress.approved_by,
        approvals=progress.approvals,
        wanted_by=progress.wanted_by,
        restarts=progress.restarts,
        urgent=progress.urgent,
        template=progress.template,
    )


def wave_text(patch: Patch, progress: Progress) -> str:
    """Return where a roll-out is: ``canary``, ``wave 1 of 2``; empty before it."""
    if not progress.waves_in_all:
        return ""
    if progress.canary:
        return "canary" if patch.wave == 0 else f"wave {patch.wave} of {progress.waves_in_all - 1}"
    return f"wave {patch.wave + 1} of {progress.waves_in_all}"


def node_views(nodes: Iterable[PatchNode], name_of: Callable[[str], str]) -> tuple[PatchNodeView, ...]:
    """Return how far a patch is on each node, bad ones first."""
    views = [
        PatchNodeView(
            node=name_of(node.node_id),
            state=node.state,
            wave=node.wave,
            release=node.release_before if node.release_after is None else node.release_after,
            detail=node.detail,
            since=node.changed_at.timestamp(),
        )
        for node in nodes
    ]
    views.sort(key=lambda view: (view.state not in _BAD, view.wave, view.node.casefold()))
    return tuple(views)


def details(
    patch: Patch, nodes: list[PatchNode], keys: Mapping[str, str], name_of: Callable[[str], str]
) -> PatchDetails:
    """Return all that is known of a patch."""
    document, plan = document_of(patch), progress_of(patch)
    targets = document.targets
    return PatchDetails(
        patch=patch_view(patch, nodes, keys),
        note=document.note,
        files=tuple(file.path for file in document.files),
        removed=tuple(file.path for file in document.removed),
        reload=document.reload,
        requirements=document.requirements,
        depends_on=document.depends_on,
        targets=(
            *(f"template {version}" for version in targets.templates),
            *(f"tag {tag}" for tag in targets.tags),
            *(f"node {name}" for name in targets.names),
        ),
        expires_at=float(document.expires),
        sha256=patch.bundle_hash.hex(),
        bundle_bytes=patch.bundle_bytes,
        plan=PatchPlanView(
            canary=plan.canary,
            waves=plan.waves,
            soak_s=plan.soak_s,
            most_soak_s=plan.most_soak_s,
            most_failed=plan.most_failed,
            at_once=plan.at_once,
            back_at_once=plan.back_at_once,
        ),
        nodes=node_views(nodes, name_of),
    )


def releases(
    names: Mapping[str, str], patches: Mapping[str, Patch], rows: Iterable[PatchNode]
) -> tuple[NodeReleaseView, ...]:
    """Return which patch each node has, or is getting; of one that has gone back the one that it has again.

    Parameters
    ----------
    names
        Of the nodes, by id.
    rows
        The latest patch first.
    """
    found = dict[str, PatchNode]()
    for row in rows:
        if row.state not in _UNTOLD and row.state != "rolled_back":
            found.setdefault(row.node_id, row)
    views = []
    for node_id, name in names.items():
        held = found.get(node_id)
        if held is None:
            views.append(NodeReleaseView(node=name))
            continue
        patch = patches[held.patch_id]
        views.append(
            NodeReleaseView(
                node=name,
                patch=f"{patch.name} {patch.version}",
                patch_id=patch.id,
                state=held.state,
                release=held.release_before if held.release_after is None else held.release_after,
                detail=held.detail.strip().rpartition("\n")[2],
            )
        )
    return tuple(views)
