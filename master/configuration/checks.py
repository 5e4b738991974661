"""Checks across settings: contradictory entries, and names that no node has."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

from msgspec.structs import replace

from master.configuration.reading import ConfigProblem
from master.configuration.settings import MailRule, NodeSettings, Settings


def contradictions(settings: Settings) -> Iterator[ConfigProblem]:
    """Yield problems between entries that are valid by themselves."""
    for check in _CHECKS:
        yield from check(settings)


def _folders(settings: Settings) -> Iterator[ConfigProblem]:
    base, template = settings.identity.bots_base_path, settings.identity.template_path
    if base.exists() and not base.is_dir():
        yield ConfigProblem("IDENTITY['BOTS_BASE_PATH']", f"{base} is not a folder", "name a folder for the bots")
    if not template.is_dir():
        fix = "name a folder with a bot.py in it, or leave the entry out"
        yield ConfigProblem("IDENTITY['TEMPLATE_PATH']", f"{template} does not exist", fix)


def _memory_limits(settings: Settings) -> Iterator[ConfigProblem]:
    found = [("SUPERVISION", settings.supervision.memory_limit_bytes, settings.supervision.memory_hard_limit_bytes)]
    for name, own in settings.nodes.items():
        if own.memory_limit_bytes is not None or own.memory_hard_limit_bytes is not None:
            limits = settings.limits_of(own)
            found.append((f"NODES[{name!r}]", limits.memory_limit_bytes, limits.memory_hard_limit_bytes))
    for key, soft, hard in found:
        if soft and hard and soft >= hard:
            problem = f"is {hard}, not above MEMORY_LIMIT_BYTES, {soft}"
            yield ConfigProblem(
                f"{key}['MEMORY_HARD_LIMIT_BYTES']", problem, "leave room for the graceful restart between both"
            )


def _opened_paths(settings: Settings) -> Iterator[ConfigProblem]:
    """Look for paths that would open the secrets of the fleet to a node."""
    for name, own in settings.nodes.items():
        for problem in secrets_opened_by(settings, own):
            yield replace(problem, key=f"NODES[{name!r}][{problem.key!r}]")


def secrets_opened_by(settings: Settings, own: NodeSettings) -> Iterator[ConfigProblem]:
    """Yield what of a node's settings would open the secrets of the fleet to it; links are followed."""
    secrets = [Path(os.path.realpath(path)) for path in settings.secret_paths]
    for key, paths in (("READABLE", own.readable), ("WRITABLE", own.writable)):
        for path in paths:
            real = Path(os.path.realpath(path))
            if any(secret.is_relative_to(real) or real.is_relative_to(secret) for secret in secrets):
                fix = "name the folders that it needs; ISOLATED: False opens all that the master may open"
                yield ConfigProblem(key, f"{path} would open the fleet's secrets", fix)
    if own.env_file is not None:
        real, ours = Path(os.path.realpath(own.env_file)), Path(os.path.realpath(settings.environments_dir))
        if real.parent != ours and any(real.is_relative_to(secret) for secret in secrets):
            fix = "write what it needs into a file of its own"
            yield ConfigProblem("ENV_FILE", f"{own.env_file} would open the fleet's secrets", fix)


def _start_order_cycle(settings: Settings) -> Iterator[ConfigProblem]:
    cycle = _find_cycle({name: own.after for name, own in settings.nodes.items()})
    if cycle:
        yield ConfigProblem("NODES", f"wait for each other: {' -> '.join(cycle)}", "remove one AFTER")


def _find_cycle(after: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Return a cycle of names, with the first one repeated at the end; empty if there is none."""
    done: set[str] = set()

    def follow(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        for other in after.get(name, ()):
            cycle = follow(other, [*path, name])
            if cycle:
                return cycle
        done.add(name)
        return []

    return next((cycle for name in after if (cycle := follow(name, []))), [])


def _both_endpoints(settings: Settings) -> Iterator[ConfigProblem]:
    if (settings.discord.api_base is None) != (settings.discord.gateway_url is None):
        yield ConfigProblem("DISCORD", "has only one of API_BASE and GATEWAY_URL", "set both or neither")


def _shop(settings: Settings) -> Iterator[ConfigProblem]:
    shop, tiers = settings.shop, {tier.name.casefold() for tier in settings.licence_tiers}
    if shop.port and not (shop.stripe_secret or shop.kofi_token):
        fix = "put STRIPE_WEBHOOK_SECRET or KOFI_VERIFICATION_TOKEN into .env, or set PORT to 0"
        yield ConfigProblem("SHOP['PORT']", "is set, but no shop's secret is", fix)
    for product, tier in shop.products.items():
        if tier.casefold() not in tiers:
            named = ", ".join(each.name for each in settings.licence_tiers)
            yield ConfigProblem(f"SHOP['PRODUCTS'][{product!r}]", f"sells {tier!r}", f"LICENCES has: {named}")


def _mailboxes(settings: Settings) -> Iterator[ConfigProblem]:
    """Look for mailboxes that could not be opened, and rules that could not act."""
    for name, mailbox in settings.mailboxes.items():
        at = f"MAILBOXES[{name!r}]"
        if not mailbox.authserv_id and any(rule.action in ("licence", "solution") for rule in mailbox.rules.values()):
            fix = "how your mail server calls itself in Authentication-Results: docs/mailbox.md"
            yield ConfigProblem(f"{at}['AUTHSERV_ID']", "is not set, and a rule needs trusted senders", fix)
        for rule_name, rule in mailbox.rules.items():
            key = f"{at}['RULES'][{rule_name!r}]"
            if rule.action in ("licence", "solution"):
                yield from _acting_rule(settings, rule, key)
            if rule.action == "ticket" and rule.category not in settings.tickets.categories:
                known = ", ".join(settings.tickets.categories) or "none"
                yield ConfigProblem(f"{key}['CATEGORY']", f"TICKETS has no {rule.category!r}", f"it has: {known}")


def _acting_rule(settings: Settings, rule: MailRule, key: str) -> Iterator[ConfigProblem]:
    """Look for a rule that would act for anybody, or cannot act."""
    if not rule.sender:
        fix = "whose mails may do that, such as 'billing@shop\\\\.example'"
        yield ConfigProblem(f"{key}['SENDER']", f"is not set: {rule.action} would be anybody's", fix)
    tiers = [tier.name for tier in settings.licence_tiers]
    if rule.action == "licence" and not rule.renew and rule.tier.casefold() not in map(str.casefold, tiers):
        yield ConfigProblem(f"{key}['TIER']", f"there is no {rule.tier!r}", f"LICENCES has: {', '.join(tiers)}")
    if rule.action == "solution":
        for name, value in (("SOLUTION", rule.solution), ("NODE", rule.node)):
            if not value:
                listing = "`fleet solutions`" if name == "SOLUTION" else "`fleet status`"
                yield ConfigProblem(f"{key}[{name!r}]", "is not set", f"{listing} lists them")


_CHECKS: tuple[Callable[[Settings], Iterator[ConfigProblem]], ...] = (
    _folders,
    _memory_limits,
    _opened_paths,
    _start_order_cycle,
    _both_endpoints,
    _shop,
    _mailboxes,
)


def unknown_node_names(settings: Settings, known_names: Collection[str]) -> list[ConfigProblem]:
    """Return the names in NODES, and in its AFTER lists, that no node has.

    These are warnings, not errors: a node may be registered later.
    """
    known = {name.casefold(): name for name in known_names}

    def problem(key: str, name: str) -> ConfigProblem:
        import difflib

        near = difflib.get_close_matches(name, known, n=1)
        fix = f"did you mean {known[near[0]]!r}?" if near else "`fleet status` lists the nodes"
        return ConfigProblem(key, f"there is no node called {name!r}", fix)

    found = [problem(f"NODES[{name!r}]", name) for name in settings.nodes if name not in known]
    for name, own in settings.nodes.items():
        found += [problem(f"NODES[{name!r}]['AFTER']", other) for other in own.after if other not in known]
    return found
