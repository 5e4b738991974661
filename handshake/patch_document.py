"""The document of a patch: what its author signs. Master, nodes and the author's command line read the same form.

A bundle is one file: :data:`MAGIC`, three lengths, the document (JSON), its signature (SSHSIG) and the changed files
(a zip archive). The signature is verified over the document's bytes before these are parsed; the document names the
archive by its digest. See :mod:`handshake.patch_bundle`.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

MAGIC = b"fleetpatch1\n"
NAMESPACE = "fleetmaster-patch"
"""Of the signature, as for ``ssh-keygen -Y sign -n``: a signature for something else is none for a patch."""
MAX_DOCUMENT_BYTES = 256 * 1024
MAX_SIGNATURE_BYTES = 16 * 1024
MAX_ARCHIVE_BYTES = 8 * 1024 * 1024
MAX_FILES = 500
MAX_UNPACKED_BYTES = 32 * 1024 * 1024
SUFFIX = ".fleetpatch"

PatchName = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}\Z")]
Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
RelativePath = Annotated[str, Meta(min_length=1, max_length=200)]
Unix = Annotated[int, Meta(ge=0, le=2**40)]
Requirement = Annotated[
    str,
    Meta(max_length=120, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(\[[A-Za-z0-9,._-]+\])?==[A-Za-z0-9][A-Za-z0-9.!+_-]*\Z"),
]
"""One version of one package: nothing that pip would take for an option, an address or a file."""
Cog = Annotated[str, Meta(max_length=60, pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*\Z")]
Tag = Annotated[str, Meta(min_length=1, max_length=100)]


class PatchedFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A file that the patch brings."""

    path: RelativePath
    sha256: Digest
    length: Annotated[int, Meta(ge=0, le=MAX_UNPACKED_BYTES)]
    base: Digest | None = None
    """Digest of the file that it replaces; None: there must be none."""
    executable: bool = False


class RemovedFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file that the patch takes away."""

    path: RelativePath
    base: Digest


class Targets(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which kinds of nodes the patch fits: those that match one of each that is given. All empty: every node."""

    templates: Annotated[tuple[Tag, ...], Meta(max_length=50)] = ()
    """Versions of the template."""
    tags: Annotated[tuple[Tag, ...], Meta(max_length=50)] = ()
    names: Annotated[tuple[Tag, ...], Meta(max_length=200)] = ()


class WavePlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How the patch is rolled out, where its author has an opinion; None: as the fleet's settings have it."""

    canary: Annotated[int, Meta(ge=0, le=100)] | None = None
    """Nodes that get it first; 0: none."""
    waves: Annotated[tuple[Annotated[int, Meta(ge=1, le=100)], ...], Meta(max_length=10)] | None = None
    """Percent of all nodes that have it after each wave; the last is 100."""
    soak_s: Annotated[float, Meta(ge=0, le=604_800)] | None = None


class PatchDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a patch is."""

    format: Literal[1] = 1
    fleets: Annotated[tuple[Tag, ...], Meta(max_length=50)] = ()
    """Ids of the fleets that it is for; empty: for each that trusts its key."""
    name: PatchName
    version: Annotated[int, Meta(ge=1, le=2**53)]
    """Strictly rising in its channel."""
    channel: PatchName = "main"
    created: Unix
    expires: Unix
    author: Annotated[str, Meta(max_length=120)] = ""
    note: Annotated[str, Meta(max_length=2_000)] = ""
    files: Annotated[tuple[PatchedFile, ...], Meta(max_length=MAX_FILES)] = ()
    removed: Annotated[tuple[RemovedFile, ...], Meta(max_length=MAX_FILES)] = ()
    targets: Targets = Targets()
    depends_on: Annotated[tuple[PatchName, ...], Meta(max_length=20)] = ()
    """Names of patches that a node must have already."""
    requirements: Annotated[tuple[Requirement, ...], Meta(max_length=50)] = ()
    """Packages in exact versions, ``aiosqlite==0.21.0``."""
    reload: Annotated[tuple[Cog, ...], Meta(max_length=50)] = ()
    """Cogs that are loaded anew without leaving the gateway; empty: the node restarts and resumes."""
    rollout: WavePlan = WavePlan()
    archive_sha256: Digest
    archive_bytes: Annotated[int, Meta(ge=0, le=MAX_ARCHIVE_BYTES)]

    @property
    def restarts(self) -> bool:
        """Whether the node has to restart for it."""
        return not self.reload


DOCUMENTS = msgspec.json.Decoder(PatchDocument)
"""Made when this is imported: two threads that are the first to decode a type end their process (msgspec 0.22)."""
