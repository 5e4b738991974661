"""config.py and .env: every mistake at once, each with its key and its fix."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from master.configuration.loading import ConfigError, load_settings, state_dir_of
from master.configuration.settings import TicketRoleLimits
from master.security.derivation import new_master_secret

EXAMPLE = Path(__file__).resolve().parents[2] / "config.example.py"


def home_with(folder: Path, config: str, *, env: str | None = None) -> Path:
    (folder / "config.py").write_text(config, "utf-8")
    text = f"MASTER_SECRET={new_master_secret()}\n" if env is None else env
    descriptor = os.open(folder / ".env", os.O_WRONLY | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
    return folder


def problems_of(home: Path) -> dict[str, str]:
    with pytest.raises(ConfigError) as error:
        load_settings(home, {})
    assert error.value.exit_code == 5
    return {problem.key: f"{problem.problem} -> {problem.fix}" for problem in error.value.problems}


MINIMAL = 'import os\nIDENTITY = {"MASTER_SECRET": os.environ["MASTER_SECRET"]}\n'


def test_the_example_is_valid_with_a_secret(tmp_path: Path) -> None:
    settings = load_settings(home_with(tmp_path, EXAMPLE.read_text("utf-8")), {})
    assert settings.colours.success == 0x2ECC71
    assert settings.colours.error == 0xE74C3C
    assert settings.identity.bots_base_path == tmp_path / "bots"
    assert settings.database.url.reveal() == f"sqlite:///{tmp_path}/state/ledger.db"
    assert [tier.name for tier in settings.licence_tiers] == ["standard", "trial"]


def test_secrets_of_env_reach_config_and_nothing_else(tmp_path: Path) -> None:
    load_settings(home_with(tmp_path, MINIMAL), {})
    assert "MASTER_SECRET" not in os.environ


def test_five_mistakes_are_told_at_once(tmp_path: Path) -> None:
    found = problems_of(
        home_with(
            tmp_path,
            MINIMAL
            + 'CHANNELS = {"VERIFY": "general"}\n'
            + 'COLORS = {"SUCCESS": 0x1FFFFFF, "SUCESS": 1}\n'
            + 'SUPERVISION = {"GRACE_S": -1, "LOG_FILES": "three"}\n'
            + "OPERATOR = {}\n",
        )
    )
    assert list(found) == [
        "OPERATOR",
        "CHANNELS['VERIFY']",
        "COLORS['SUCESS']",
        "COLORS['SUCCESS']",
        "SUPERVISION['GRACE_S']",
        "SUPERVISION['LOG_FILES']",
    ]
    assert "17 to 20 digits" in found["CHANNELS['VERIFY']"]
    assert "did you mean 'SUCCESS'?" in found["COLORS['SUCESS']"]
    assert "did you mean 'OPERATORS'?" in found["OPERATOR"]
    assert "0.1 to 300" in found["SUPERVISION['GRACE_S']"]


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("EMOJIS = {'READY': 5}", "EMOJIS['READY']"),
        ("EMOJIS = []", "EMOJIS"),
        ("OPERATORS = {'USERS': 5}", "OPERATORS['USERS']"),
        ("OPERATORS = {'USERS': [True]}", "OPERATORS['USERS']"),
        ("HANDSHAKE = {'TRANSPORT': 'pigeon'}", "HANDSHAKE['TRANSPORT']"),
        ("DISCORD = {'API_BASE': 'ftp://x'}", "DISCORD['API_BASE']"),
        ("DISCORD = {'API_BASE': 'http://x/api/v10'}", "DISCORD"),
        ("LICENCES = {}", "LICENCES"),
        ("LICENCES = {'gold': -1}", "LICENCES['gold']"),
        ("DATABASE = {'URL': 'oracle://x'}", "DATABASE['URL']"),
        ("DATABASE = {'SERVER': 'db'}", "DATABASE['USER'], ['PASSWORD']"),
        ("IDENTITY['TEMPLATE_PATH'] = '/nowhere'", "IDENTITY['TEMPLATE_PATH']"),
        ("IDENTITY['MASTER_TOKEN'] = 'two words'", "IDENTITY['MASTER_TOKEN']"),
        ("IDENTITY['GUILD_ID'] = 12", "IDENTITY['GUILD_ID']"),
        ("STATE_DIR = 5", "STATE_DIR"),
        ("def broken(:", "line 3, column 12"),
        ("import os; os.environ['MISSING']", "MISSING"),
        ("1 / 0", "ZeroDivisionError"),
        ("raise SystemExit(3)", "SystemExit"),
        ("IDENTITY = 5", "IDENTITY"),
        ("DATABASE = {'SERVER': 'db', 'USER': 'sa', 'PASSWORD': 5}", "DATABASE['PASSWORD']"),
        ("NODES = {'a': {}, 'A': {}}", "NODES['A']"),
    ],
)
def test_each_mistake_is_named(tmp_path: Path, line: str, key: str) -> None:
    assert list(problems_of(home_with(tmp_path, MINIMAL + line + "\n"))) == [key]


def test_a_short_secret_is_refused_and_not_shown(tmp_path: Path) -> None:
    found = problems_of(home_with(tmp_path, MINIMAL, env="MASTER_SECRET=hunter2hunter2\n"))
    assert "fleet init" in found["IDENTITY['MASTER_SECRET']"]
    assert "hunter2" not in str(found)


def test_an_env_that_others_can_read_is_refused(tmp_path: Path) -> None:
    home = home_with(tmp_path, MINIMAL)
    (home / ".env").chmod(0o644)
    assert "chmod 600" in problems_of(home)[".env"]


def test_a_missing_config_says_where_it_was_looked_for(tmp_path: Path) -> None:
    assert "fleet init" in problems_of(tmp_path)["config.py"]


def test_sql_server_fields_become_a_url_with_the_password_escaped(tmp_path: Path) -> None:
    fields = 'DATABASE = {"SERVER": "db,1433", "USER": "fleet", "PASSWORD": "p;w}d&"}\n'
    url = load_settings(home_with(tmp_path, MINIMAL + fields), {}).database.url
    assert "p;w" not in repr(url)
    assert url.reveal().startswith("mssql+pyodbc:///?odbc_connect=DRIVER%3D%7Bauto%7D")
    assert "PWD%3D%7Bp%3Bw%7D%7Dd%26%7D" in url.reveal()


def test_secrets_that_cannot_be_read_are_not_said_to_be_missing(tmp_path: Path) -> None:
    home_with(tmp_path, MINIMAL, env="")
    assert "is not set" in problems_of(tmp_path)["MASTER_SECRET"]
    (tmp_path / ".env").write_bytes(b"MASTER_SECRET=\xff\n")
    found = problems_of(tmp_path)
    assert list(found) == [".env"]
    assert found[".env"].startswith("cannot be read: is no text in UTF-8")


def test_the_state_folder_is_found_even_with_a_broken_config(tmp_path: Path) -> None:
    assert state_dir_of(home_with(tmp_path, "1 / 0"), {}) == tmp_path / "state"
    (tmp_path / "config.py").write_text('STATE_DIR = "elsewhere"\n')
    assert state_dir_of(tmp_path, {}) == tmp_path / "elsewhere"


@pytest.mark.parametrize("kind", ["SystemExit", "GeneratorExit", "BaseException"])
def test_whatever_the_config_raises_is_a_mistake_in_it(tmp_path: Path, kind: str) -> None:
    assert list(problems_of(home_with(tmp_path, f"raise {kind}"))) == [kind]


def test_control_c_during_the_config_interrupts_the_command(tmp_path: Path) -> None:
    home = home_with(tmp_path, "import signal; signal.raise_signal(signal.SIGINT)")
    # A shell starts what runs in its background with SIGINT ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            state_dir_of(home, {})
    finally:
        signal.signal(signal.SIGINT, before)


def test_single_nodes_differ_from_the_fleet(tmp_path: Path) -> None:
    home = home_with(
        tmp_path,
        MINIMAL
        + 'NODES = {"Atlas": {"PRIORITY": 1, "AFTER": ["Base"], "MEMORY_LIMIT_BYTES": 0, "PLAIN": True}, "Base": {}}\n'
        + 'RETENTION = {"ERROR_EVENTS": 7}\n',
    )
    settings = load_settings(home, {})
    atlas = settings.node("ATLAS")
    assert (atlas.priority, atlas.after, atlas.memory_limit_bytes, atlas.plain) == (1, ("base",), 0, True)
    assert settings.node("borealis").after == ()
    assert (settings.retention.days_of("error_events"), settings.retention.days_of("process_events")) == (7, 90)


@pytest.mark.parametrize(
    ("line", "key", "words"),
    [
        ("NODES = []", "NODES", "is []"),
        ('NODES = {"a": 1}', "NODES['a']", "is of type int -> a dict with any of PRIORITY"),
        ('NODES = {"a": {"PRIORTY": 1}}', "NODES['a']['PRIORTY']", "did you mean 'PRIORITY'?"),
        ('NODES = {"a": {"AFTER": "b"}}', "NODES['a']['AFTER']", "a list, each of them the name of a node"),
        ('SUPERVISION = {"MERGE_MEMORY": 1}', "SUPERVISION['MERGE_MEMORY']", "True or False"),
        ('NODES = {"a": {"CPU_WEIGHT": 0}}', "NODES['a']['CPU_WEIGHT']", "a whole number from 1 to 10,000"),
        ('NODES = {"a": {"PLAIN": "yes"}}', "NODES['a']['PLAIN']", "True or False"),
        ('NODES = {"a": {"AFTER": ["B"]}, "b": {"AFTER": ["c"]}, "C": {"AFTER": ["a"]}}', "NODES", "a -> b -> c -> a"),
        ('NODES = {"a": {"AFTER": ["a"]}}', "NODES", "a -> a"),
        (
            'SUPERVISION = {"MEMORY_LIMIT_BYTES": 200, "MEMORY_HARD_LIMIT_BYTES": 100}',
            "SUPERVISION['MEMORY_HARD_LIMIT_BYTES']",
            "leave room",
        ),
        ('RETENTION = {"ERROR_EVENTS": -1}', "RETENTION['ERROR_EVENTS']", "a whole number from 0"),
    ],
)
def test_mistakes_about_nodes_and_limits_are_named(tmp_path: Path, line: str, key: str, words: str) -> None:
    assert words in problems_of(home_with(tmp_path, MINIMAL + line + "\n"))[key]


@pytest.mark.parametrize("key", ["READABLE", "WRITABLE"])
@pytest.mark.parametrize("path", [".", "..", "/", "state", "state/spool", ".env", "config.py", "bots/../state"])
def test_a_path_that_would_open_the_secrets_to_a_node_is_refused(tmp_path: Path, key: str, path: str) -> None:
    config = MINIMAL + f'NODES = {{"atlas": {{"{key}": ["songs", "{path}"]}}}}\n'
    (told,) = problems_of(home_with(tmp_path, config)).items()
    assert told[0] == f"NODES['atlas']['{key}']"
    assert "would open the fleet's secrets" in told[1]


def test_paths_that_are_opened_to_a_node_are_relative_to_the_home(tmp_path: Path) -> None:
    config = MINIMAL + 'NODES = {"Atlas": {"READABLE": ["songs", "/srv/data"], "WRITABLE": ["bots/shared"]}}\n'
    settings = load_settings(home_with(tmp_path, config), {})
    assert settings.node("atlas").readable == (tmp_path / "songs", Path("/srv/data"))
    assert settings.node("atlas").writable == (tmp_path / "bots" / "shared",)
    assert settings.is_isolated(settings.node("atlas"))


def test_limits_of_tickets_are_by_role_as_a_number_or_as_two(tmp_path: Path) -> None:
    first, second = 10**17, 10**17 + 1
    limits = f"{{{first}: 3, '{second}': {{'MOST_A_DAY': 9}}}}"
    config = MINIMAL + f"TICKETS = {{'CATEGORIES': {{'support': {{'LIMITS_BY_ROLE': {limits}}}}}}}\n"
    assert load_settings(home_with(tmp_path, config), {}).tickets.categories["support"].limits_by_role == (
        TicketRoleLimits(role_id=first, most_open=3),
        TicketRoleLimits(role_id=second, most_a_day=9),
    )
    none = config.replace(limits, "{}")
    assert load_settings(home_with(tmp_path, none), {}).tickets.categories["support"].limits_by_role == ()
    (problem,) = problems_of(home_with(tmp_path, config.replace("3", "99", 1))).items()
    assert problem == (
        f"TICKETS['CATEGORIES']['support']['LIMITS_BY_ROLE'][{first}]",
        "is 99 -> a whole number from 0 to 50",
    )


SELLING = MINIMAL + 'LICENCES = {"pro": 30}\nSHOP = {"PORT": 8400, "PRODUCTS": {"price_1": "Pro"}}\n'


def test_secrets_of_shops_come_out_of_env_and_are_not_shown(tmp_path: Path) -> None:
    env = f"MASTER_SECRET={new_master_secret()}\nSTRIPE_WEBHOOK_SECRET=whsec_1\nKOFI_VERIFICATION_TOKEN= \n"
    shop = load_settings(home_with(tmp_path, SELLING, env=env), {}).shop
    assert shop.stripe_secret is not None
    assert shop.stripe_secret.reveal() == "whsec_1"
    assert shop.kofi_token is None
    assert "whsec_1" not in repr(shop)


def test_a_shop_that_could_sell_nothing_is_a_mistake(tmp_path: Path) -> None:
    found = problems_of(home_with(tmp_path, SELLING.replace('"Pro"', '"gold"')))
    assert found == {
        "SHOP['PORT']": "is set, but no shop's secret is -> put STRIPE_WEBHOOK_SECRET or KOFI_VERIFICATION_TOKEN into "
        ".env, or set PORT to 0",
        "SHOP['PRODUCTS']['price_1']": "sells 'gold' -> LICENCES has: pro",
    }


def test_a_mail_rule_that_would_act_for_anybody_is_a_mistake(tmp_path: Path) -> None:
    config = (
        MINIMAL
        + """
MAILBOXES = {"inbox": {"HOST": "h", "USER": "u", "RULES": {
    "sold": {"ACTION": "licence", "TIER": "gold", "SENDER": "@shop"},
    "paid": {"ACTION": "licence", "RENEW": True, "SENDER": "@shop"},
    "fix": {"ACTION": "solution", "SOLUTION": "stale_cache"},
}}}
"""
    )
    at = "MAILBOXES['inbox']"
    found = problems_of(home_with(tmp_path, config))
    assert found == {
        f"{at}['AUTHSERV_ID']": "is not set, and a rule needs trusted senders -> how your mail server calls itself in "
        "Authentication-Results: docs/mailbox.md",
        f"{at}['RULES']['sold']['TIER']": "there is no 'gold' -> LICENCES has: standard",
        f"{at}['RULES']['fix']['SENDER']": "is not set: solution would be anybody's -> whose mails may do that, such "
        "as 'billing@shop\\\\.example'",
        f"{at}['RULES']['fix']['NODE']": "is not set -> `fleet status` lists them",
    }
