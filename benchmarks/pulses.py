"""Signed pulses verified on one core: ours end to end, beside PyJWT's decoder alone on the same messages.

Ours decodes, verifies, guards against replays and updates the node's state; PyJWT only decodes and verifies.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import secrets
import time
from collections.abc import Callable

import jwt

from handshake.messages import Heartbeat
from handshake.redaction import Secret
from handshake.replay import ReplayGuard
from handshake.signing import MASTER, NodeKey, Signer, Verifier

NODES, ROUNDS = 25, 800
BOUND_PER_S = 20_000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    as_json = parser.parse_args().json
    keys = {f"NODE{n}": NodeKey(f"NODE{n}", 1, Secret(secrets.token_bytes(32))) for n in range(NODES)}
    signers = [Signer(key, from_master=False, clock=time.time) for key in keys.values()]
    pulse = Heartbeat(uptime_s=1234.5, latency_ms=41.2, guilds=12)
    texts = [signer.sign(pulse) for _ in range(ROUNDS) for signer in signers]

    verifier = Verifier(
        lambda node_id, _epoch: keys[node_id],
        clock=time.time,
        replay_guard=ReplayGuard(time.time, capacity=ROUNDS + 1),
    )
    seen: dict[str, Heartbeat] = {}

    def ours(text: str) -> None:
        message = verifier.open(text)
        if isinstance(message.body, Heartbeat):
            seen[message.node_id] = message.body

    def peer(text: str) -> None:
        node_id = jwt.get_unverified_header(text)["kid"].rpartition(".")[0]
        jwt.decode(text, keys[node_id].secret.reveal(), algorithms=["HS256"], audience=MASTER)

    rows = {"fleetmaster, end to end": _rate(ours, texts), "PyJWT, decode alone": _rate(peer, texts)}
    ratio = rows["fleetmaster, end to end"] / rows["PyJWT, decode alone"]
    value = round(rows["fleetmaster, end to end"])
    reach = {"pulses_per_s": {"value": value, "bound": BOUND_PER_S, "holds": value >= BOUND_PER_S}}
    if as_json:
        machine = {"python": platform.python_version(), "cores": os.cpu_count(), "kernel": platform.release()}
        print(json.dumps({"machine": machine, "rows": rows, "ratios": {"to PyJWT": ratio}, "reach": reach}))
        return
    for name, rate in rows.items():
        print(f"{name:<28}{rate:>12,.0f} messages/s")
    print(f"{'ratio':<28}{ratio:>12.1f}")


def _rate(take: Callable[[str], None], texts: list[str]) -> float:
    """Give messages a second of CPU time."""
    began = time.process_time()
    for text in texts:
        take(text)
    return len(texts) / (time.process_time() - began)


if __name__ == "__main__":
    main()
