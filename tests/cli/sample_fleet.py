"""A fleet as a master tells of it: ready nodes, nodes in trouble, long names and long notes."""

from __future__ import annotations

import random

from msgspec.structs import replace

from master.services.core.views import FleetStatus, MasterStatus, NodeStatus

NOW = 1_795_342_316.9
REASON = "ModuleNotFoundError: No module named 'discord.ext.voice_recv', which the cog music needs since the update"
MASTER = MasterStatus(
    pid=4242, version="1", uptime_s=7200.0, cpu_percent=0.3, cpu_seconds=9.0, rss_bytes=72 << 20, discord="ready",
    ledger="sqlite", home="/srv/fleet", isolation="landlock ABI 7", merged_bytes=300 << 20,
)  # fmt: skip


def sample_fleet(count: int, *, long_names: bool = False) -> FleetStatus:
    """Return a status of that many nodes; of three, one is quarantined and one revoked."""
    chance = random.Random(count)  # noqa: S311 - repeatable
    names = [
        f"{'zyxwvutsr'[number % 9]}-{number:03}{'-and-more' * 9 if long_names else ''}"[:40] for number in range(count)
    ]
    return FleetStatus(at=NOW, master=MASTER, nodes=tuple(_node(n, name, chance) for n, name in enumerate(names)))


def _node(number: int, name: str, chance: random.Random) -> NodeStatus:
    node = NodeStatus(
        id=f"01{number}", name=name, state="ready", desired="running", readiness="handshake", folder=name,
        bot_user_id="1", pid=1_000_000 + number, uptime_s=chance.random() * 1e6, cpu_percent=chance.random() * 5,
        rss_bytes=90 << 20, pss_bytes=int(5e6 + chance.random() * 5e8), restarts=chance.randint(0, 90),
        last_pulse_s_ago=chance.random() * 9, latency_ms=80 * chance.random(), guilds=chance.randint(1, 900),
        version="1.4.2",
    )  # fmt: skip
    away = replace(node, pid=None, uptime_s=None, cpu_percent=None, rss_bytes=None, pss_bytes=None, guilds=None)
    match number % 12:
        case 1:
            return replace(away, state="quarantined", last_exit=f"exit 1: {REASON}", next_start_in_s=1712.0)
        case 2:
            return replace(away, state="stopped", desired="stopped", licence_revoked=True)
        case 5:
            return replace(node, state="degraded", cogs_failed=("music",), detail="1 cog failed: music")
        case 7:
            return replace(node, flag_reason="bad_signature")
        case 9:
            return replace(away, state="stopped", desired="stopped", last_exit="stopped by cli:root")
        case _:
            return node
