"""Reads config.py and .env from the fleet's home, checks every entry, and gives one frozen ``Settings``.

All mistakes are told at once, each with its key, what is wrong with its value, and the fix.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote_plus

from dotenv import dotenv_values

from handshake.redaction import Secret
from master.configuration.reading import ConfigProblem, Reader, nearest, shown
from master.configuration.settings import (
    ANY_DRIVER,
    ENV_NAME,
    ChannelSettings,
    ColourSettings,
    DatabaseSettings,
    DiscordSettings,
    EmojiSettings,
    HandshakeSettings,
    IdentitySettings,
    LicenceTier,
    OperatorSettings,
    RetentionSettings,
    Settings,
)
from master.configuration.supervision import read_nodes, read_supervision
from master.errors import ExitCode, FleetError
from master.security.derivation import check_master_secret, decode_kept_keys
from master.security.errors import SecretRefused, TokenFormatError
from master.security.tokens import check_token_format

CONFIG_NAME = "config.py"
_DEFAULT_TEMPLATE = Path(__file__).resolve().parents[2] / "child_template"


class ConfigError(FleetError):
    """config.py or .env is missing or wrong; ``problems`` has every mistake."""

    code: ClassVar[str] = "config_error"
    exit_code: ClassVar[ExitCode] = ExitCode.CONFIG

    def __init__(self, path: Path, problems: list[ConfigProblem]) -> None:
        count = "one mistake" if len(problems) == 1 else f"{len(problems)} mistakes"
        super().__init__(f"{path} has {count}", hint="\n".join(str(problem) for problem in problems))
        self.path = path
        self.problems = problems


def find_home(given: Path | None, environment: Mapping[str, str]) -> Path:
    """Return the fleet's home: what was given, FLEET_HOME, or the folder one stands in."""
    named = environment.get("FLEET_HOME")
    return (given or (Path(named) if named else Path.cwd())).expanduser().resolve()


def load_settings(home: Path, environment: Mapping[str, str]) -> Settings:
    """Read and check the config of a home.

    Parameters
    ----------
    environment
        The process's environment; ``.env`` is laid over it for config.py alone, so that no child inherits a secret.

    Raises
    ------
    ConfigError
        With every mistake.
    """
    path = home / CONFIG_NAME
    if not path.is_file():
        missing = ConfigProblem(CONFIG_NAME, f"there is none in {home}", "run `fleet init`, or give --home")
        raise ConfigError(path, [missing])
    reader = Reader()
    secrets = _read_env(home / ENV_NAME, reader)
    values = _execute(path, {**environment, **secrets})
    settings = _Builder(home, values, reader, secrets).build()
    if reader.problems or settings is None:
        raise ConfigError(path, reader.problems)
    return settings


def _read_env(path: Path, reader: Reader) -> dict[str, str]:
    if not path.exists():
        return {}
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        reader.report(ENV_NAME, "others on this machine can read it", f"chmod 600 {path}")
    return {key: value for key, value in dotenv_values(path).items() if value is not None}


def _execute(path: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """Run config.py; it is the operator's own code."""
    namespace: dict[str, Any] = {"__file__": str(path), "__name__": "config"}
    try:
        code = compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
        with _environment_as(environment):
            exec(code, namespace)  # noqa: S102 - the operator's own file
    except SyntaxError as error:
        where = f"line {error.lineno}, column {error.offset}"
        problem = ConfigProblem(where, error.msg, "mend the Python of this line")
        raise ConfigError(path, [problem]) from error
    except KeyError as error:
        problem = ConfigProblem(str(error.args[0]), "is not set", f"set it in {ENV_NAME}, or run `fleet init`")
        raise ConfigError(path, [problem]) from error
    except Exception as error:
        problem = ConfigProblem(type(error).__name__, str(error)[:200], "config.py has to run without an error")
        raise ConfigError(path, [problem]) from error
    return {name: value for name, value in namespace.items() if name.isupper() and not name.startswith("_")}


@contextmanager
def _environment_as(values: Mapping[str, str]) -> Iterator[None]:
    """Let ``os.environ`` show ``values`` while config.py runs, and no longer."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def state_dir_of(home: Path, environment: Mapping[str, str]) -> Path:
    """Return the state folder of a home, also where its config is missing or wrong: a master may run there still."""
    default = home / "state"
    try:
        values = _execute(home / CONFIG_NAME, {**environment, **_read_env(home / ENV_NAME, Reader())})
    except (ConfigError, OSError):
        return default
    given = values.get("STATE_DIR", "state")
    return (home / Path(given).expanduser()).resolve() if isinstance(given, str | Path) else default


_SECTIONS = (
    "DATABASE",
    "IDENTITY",
    "CHANNELS",
    "EMOJIS",
    "COLORS",
    "OPERATORS",
    "SUPERVISION",
    "NODES",
    "RETENTION",
    "HANDSHAKE",
    "DISCORD",
    "LICENCES",
    "STATE_DIR",
)

_DATABASE_TIMEOUTS = {"CONNECT_TIMEOUT_S": "connect_timeout_s", "STATEMENT_TIMEOUT_S": "statement_timeout_s"}

_COLOURS = {"SUCCESS": "success", "ERROR": "error", "WARNING": "warning", "INFORMATION": "information"}


class _Builder:
    """Turns what config.py holds into settings, section by section."""

    def __init__(self, home: Path, values: dict[str, Any], reader: Reader, secrets: Mapping[str, str]) -> None:
        self._secrets = secrets
        self._home = home
        self._values = dict(values)
        self._read = reader

    def build(self) -> Settings | None:
        state_dir = self._path("STATE_DIR", self._values.pop("STATE_DIR", "state"))
        identity = self._identity()
        database = self._database(state_dir)
        channels = self._read.section(self._values, "CHANNELS", ("VERIFY", "PATCH", "LOG"))
        channel_ids = {key: self._read.snowflake(f"CHANNELS[{key!r}]", value) for key, value in channels.items()}
        emojis, colours, operators = self._emojis(), self._colours(), self._operators()
        handshake, discord = self._handshake(), self._discord()
        supervision, nodes = read_supervision(self._values, self._read), read_nodes(self._values, self._read)
        tiers, retention = self._licences(), self._retention()
        for name in self._values:
            self._read.report(name, "is not known", nearest(name, _SECTIONS))
        if identity is None or database is None:
            return None
        return Settings(
            home=self._home,
            state_dir=state_dir,
            database=database,
            identity=identity,
            channels=ChannelSettings(**{key.lower(): value for key, value in channel_ids.items()}),
            emojis=emojis,
            colours=colours,
            operators=operators,
            supervision=supervision,
            handshake=handshake,
            discord=discord,
            licence_tiers=tiers,
            retention=retention,
            nodes=nodes,
        )

    def _path(self, key: str, value: Any) -> Path:
        if not isinstance(value, str | Path) or not str(value):
            self._read.report(key, f"is {shown(value)}", "the path of a folder, as text")
            return self._home
        return (self._home / Path(value).expanduser()).resolve()

    def _identity(self) -> IdentitySettings | None:
        known = ("BOTS_BASE_PATH", "TEMPLATE_PATH", "GUILD_ID", "MASTER_SECRET", "MASTER_TOKEN")
        section = self._read.section(self._values, "IDENTITY", known)
        base = self._path("IDENTITY['BOTS_BASE_PATH']", section.get("BOTS_BASE_PATH", "bots"))
        template = self._path("IDENTITY['TEMPLATE_PATH']", section.get("TEMPLATE_PATH") or _DEFAULT_TEMPLATE)
        if base.exists() and not base.is_dir():
            self._read.report("IDENTITY['BOTS_BASE_PATH']", f"{base} is not a folder", "name a folder for the bots")
        if not template.is_dir():
            fix = "name a folder with a bot.py in it, or leave the entry out"
            self._read.report("IDENTITY['TEMPLATE_PATH']", f"{template} does not exist", fix)
        guild_id = self._read.snowflake("IDENTITY['GUILD_ID']", section.get("GUILD_ID"))
        secret = self._secret(section.get("MASTER_SECRET"))
        kept, previous, following = self._rotation()
        token = self._token(section.get("MASTER_TOKEN"))
        if secret is None:
            return None
        return IdentitySettings(
            bots_base_path=base,
            template_path=template,
            guild_id=guild_id,
            master_secret=secret,
            master_token=token,
            kept_keys=kept,
            previous_secret=previous,
            next_secret=following,
        )

    def _rotation(self) -> tuple[dict[str, Secret[bytes]], Secret[bytes] | None, Secret[bytes] | None]:
        """Read what `fleet rotate-secret` left in .env: it is the program's own, and not config.py's to know."""
        found: list[Secret[bytes] | None] = []
        kept: dict[str, Secret[bytes]] = {}
        try:
            kept = decode_kept_keys(self._secrets.get("MASTER_KEPT_KEYS", ""))
            for name in ("MASTER_SECRET_PREVIOUS", "MASTER_SECRET_NEXT"):
                text = self._secrets.get(name)
                found.append(Secret(check_master_secret(text)) if text else None)
        except SecretRefused as error:
            self._read.report(ENV_NAME, error.message, error.hint)
            return {}, None, None
        return kept, found[0], found[1]

    def _secret(self, value: Any) -> Secret[bytes] | None:
        try:
            return Secret(check_master_secret(value if isinstance(value, str) else ""))
        except SecretRefused as error:
            self._read.report("IDENTITY['MASTER_SECRET']", error.message, error.hint)
            return None

    def _token(self, value: Any) -> Secret[str] | None:
        if value in (None, ""):
            return None
        try:
            check_token_format(value if isinstance(value, str) else "?")
        except TokenFormatError as error:
            self._read.report("IDENTITY['MASTER_TOKEN']", error.message, error.hint)
            return None
        return Secret(value)

    def _database(self, state_dir: Path) -> DatabaseSettings | None:
        known = (
            "URL",
            "DRIVER",
            "SERVER",
            "DATABASE",
            "USER",
            "PASSWORD",
            "TRUSTED_CONNECTION",
            "ENCRYPT",
            "TRUST_CERTIFICATE",
            *_DATABASE_TIMEOUTS,
        )
        section = self._read.section(self._values, "DATABASE", known)
        if "SERVER" in section:
            return self._sql_server(section)
        url = self._read.text(
            "DATABASE['URL']", section.get("URL", f"sqlite:///{state_dir / 'ledger.db'}"), "sqlite:///state/ledger.db"
        )
        if url.startswith("sqlite:///") and not url.startswith("sqlite:////"):
            url = f"sqlite:///{(self._home / url.removeprefix('sqlite:///')).resolve()}"
        elif not url.startswith(("sqlite:////", "mssql+pyodbc://")):
            # Not shown: it may hold a password.
            self._read.report("DATABASE['URL']", "is for no database we know", "sqlite:///... or mssql+pyodbc://...")
            return None
        return DatabaseSettings(url=Secret(url), **self._timeouts(section))

    def _timeouts(self, section: dict[str, Any]) -> dict[str, float]:
        found = {}
        for key, name in _DATABASE_TIMEOUTS.items():
            value = section.get(key)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0.01 <= value <= 600:
                self._read.report(f"DATABASE[{key!r}]", f"is {shown(value)}", "seconds, from 0.01 to 600")
                continue
            found[name] = float(value)
        return found

    def _sql_server(self, section: dict[str, Any]) -> DatabaseSettings | None:
        trusted = bool(section.get("TRUSTED_CONNECTION"))
        if not trusted and not (section.get("USER") and section.get("PASSWORD")):
            fix = "give both, or TRUSTED_CONNECTION: True"
            self._read.report("DATABASE['USER'], ['PASSWORD']", "are not both set", fix)
            return None
        parts = {
            "DRIVER": "{" + str(section.get("DRIVER") or ANY_DRIVER).strip("{}") + "}",
            "SERVER": str(section["SERVER"]),
            "DATABASE": str(section.get("DATABASE", "DISCORDBOT")),
            "Encrypt": "yes" if section.get("ENCRYPT", True) else "no",
            "TrustServerCertificate": "yes" if section.get("TRUST_CERTIFICATE", False) else "no",
        }
        if trusted:
            parts["Trusted_Connection"] = "yes"
        else:
            parts["UID"] = str(section["USER"])
            parts["PWD"] = "{" + str(section["PASSWORD"]).replace("}", "}}") + "}"
        connection = ";".join(f"{name}={value}" for name, value in parts.items())
        url = f"mssql+pyodbc:///?odbc_connect={quote_plus(connection)}"
        return DatabaseSettings(url=Secret(url), **self._timeouts(section))

    def _emojis(self) -> EmojiSettings:
        known = tuple(field.name.upper() for field in fields(EmojiSettings))
        section = self._read.section(self._values, "EMOJIS", known)
        fix = "an emoji, or <:name:id> for one of your server's"
        return EmojiSettings(**{k.lower(): self._read.text(f"EMOJIS[{k!r}]", v, fix) for k, v in section.items()})

    def _colours(self) -> ColourSettings:
        section = self._read.section(self._values, "COLORS", tuple(_COLOURS))
        defaults = ColourSettings()
        found: dict[str, int] = {}
        for key, value in section.items():
            name = _COLOURS[key]
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 0xFFFFFF:
                self._read.report(f"COLORS[{key!r}]", f"is {shown(value)}", "a colour from 0x000000 to 0xffffff")
                value = getattr(defaults, name)
            found[name] = value
        return ColourSettings(**found)

    def _operators(self) -> OperatorSettings:
        section = self._read.section(self._values, "OPERATORS", ("USERS", "ROLES"))
        found: dict[str, frozenset[int]] = {}
        for key in ("USERS", "ROLES"):
            value = section.get(key, [])
            if not isinstance(value, list | tuple | set | frozenset):
                self._read.report(f"OPERATORS[{key!r}]", f"is {shown(value)}", "a list of Discord ids")
                value = []
            ids = [self._read.snowflake(f"OPERATORS[{key!r}]", item) for item in value]
            found[key] = frozenset(filter(None, ids))
        return OperatorSettings(user_ids=found["USERS"], role_ids=found["ROLES"])

    def _handshake(self) -> HandshakeSettings:
        known = ("TRANSPORT", "CHANNEL_PULSE_INTERVAL_S", "CLOCK_SKEW_S", "KEY_HANDOVER_S")
        section = self._read.section(self._values, "HANDSHAKE", known)
        found: dict[str, Any] = {}
        if "TRANSPORT" in section:
            if section["TRANSPORT"] in ("auto", "local", "channel"):
                found["transport"] = section["TRANSPORT"]
            else:
                problem = f"is {shown(section['TRANSPORT'])}"
                self._read.report("HANDSHAKE['TRANSPORT']", problem, "'auto', 'local' or 'channel'")
        if "CHANNEL_PULSE_INTERVAL_S" in section:
            value = section["CHANNEL_PULSE_INTERVAL_S"]
            key = "HANDSHAKE['CHANNEL_PULSE_INTERVAL_S']"
            found["channel_pulse_interval_s"] = self._read.number(key, value, float, 5, 3600, 240.0)
        if "CLOCK_SKEW_S" in section:
            value = section["CLOCK_SKEW_S"]
            found["clock_skew_s"] = self._read.number("HANDSHAKE['CLOCK_SKEW_S']", value, float, 0, 600, 60.0)
        if "KEY_HANDOVER_S" in section:
            value = section["KEY_HANDOVER_S"]
            found["key_handover_s"] = self._read.number("HANDSHAKE['KEY_HANDOVER_S']", value, float, 1, 3600, 60.0)
        return HandshakeSettings(**found)

    def _retention(self) -> RetentionSettings:
        known = tuple(field.name.upper() for field in fields(RetentionSettings))
        section = self._read.section(self._values, "RETENTION", known)
        return RetentionSettings(
            **{
                key.lower(): self._read.number(f"RETENTION[{key!r}]", value, int, 0, 36_500, 0)
                for key, value in section.items()
            }
        )

    def _discord(self) -> DiscordSettings:
        section = self._read.section(self._values, "DISCORD", ("API_BASE", "GATEWAY_URL"))
        checks: dict[str, tuple[str, Callable[[str], bool]]] = {
            "API_BASE": ("http(s)://HOST/api/v10", lambda url: url.startswith(("http://", "https://"))),
            "GATEWAY_URL": ("ws(s)://HOST/", lambda url: url.startswith(("ws://", "wss://"))),
        }
        found: dict[str, str | None] = {}
        for key, (form, fits) in checks.items():
            value = section.get(key)
            if value in (None, ""):
                continue
            if not isinstance(value, str) or not fits(value):
                self._read.report(f"DISCORD[{key!r}]", f"is {shown(value)}", f"{form}, or None for Discord itself")
            else:
                found[key.lower()] = value
        if len(found) == 1 and not any(problem.key.startswith("DISCORD") for problem in self._read.problems):
            self._read.report("DISCORD", "has only one of API_BASE and GATEWAY_URL", "give both or neither")
        return DiscordSettings(**found)

    def _licences(self) -> tuple[LicenceTier, ...]:
        section = self._values.pop("LICENCES", None)
        if section is None:
            return (LicenceTier(name="standard"),)
        if not isinstance(section, dict) or not section:
            self._read.report("LICENCES", f"is {shown(section)}", "a dict of tier names and days, {'standard': 0}")
            return (LicenceTier(name="standard"),)
        return tuple(
            LicenceTier(
                name=self._read.text("LICENCES", name, "the name of a tier, as text"),
                days=self._read.number(f"LICENCES[{name!r}]", days, int, 0, 36_500, 0),
            )
            for name, days in section.items()
        )
