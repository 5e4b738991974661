"""Load config.py and .env from the fleet's home, check every entry, and build one frozen ``Settings``.

All mistakes are reported together, each with its key, the problem and the fix.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote_plus

from dotenv import dotenv_values
from msgspec.structs import replace

from handshake.redaction import Secret
from master.configuration.checks import contradictions
from master.configuration.home import CONFIG_NAME
from master.configuration.programs import check_command, check_ready_sign, check_schedule
from master.configuration.reading import ConfigProblem, Form, PathRefused, Reader, expanded, resolved
from master.configuration.settings import ENV_NAME, AnnouncePlace, DatabaseSettings, Settings
from master.errors import ExitCode, FleetError
from master.security.derivation import check_master_secret, decode_kept_keys
from master.security.errors import SecretRefused
from master.security.tokens import check_token_text


class ConfigError(FleetError):
    """config.py or .env is missing or wrong; ``problems`` has every mistake."""

    code: ClassVar[str] = "config_error"
    exit_code: ClassVar[ExitCode] = ExitCode.CONFIG

    def __init__(self, path: Path, problems: list[ConfigProblem]) -> None:
        count = "one mistake" if len(problems) == 1 else f"{len(problems)} mistakes"
        super().__init__(f"{path} has {count}", hint="\n".join(str(problem) for problem in problems))
        self.path = path
        self.problems = problems


def load_settings(home: Path, environment: Mapping[str, str]) -> Settings:
    """Read and check the config of a home.

    Parameters
    ----------
    environment
        The process's environment. Only config.py sees it with ``.env`` added, so that no child inherits a secret.

    Raises
    ------
    ConfigError
        Has every mistake.
    """
    path = home / CONFIG_NAME
    if not path.is_file():
        missing = ConfigProblem(CONFIG_NAME, f"there is none in {home}", "run `fleet init`, or give --home")
        raise ConfigError(path, [missing])
    reader = Reader(home, FORMS)
    secrets = _read_env(home / ENV_NAME, reader)
    try:
        values = _execute(path, {**environment, **secrets})
    except ConfigError as error:
        # What .env could not tell is not set: that it could not be read says why.
        raise ConfigError(path, reader.problems + (error.problems if secrets or not reader.problems else [])) from error
    settings = _build(home, values, reader, secrets)
    if reader.problems:
        raise ConfigError(path, reader.problems)
    return settings


def _read_env(path: Path, reader: Reader) -> dict[str, str]:
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            reader.report(ENV_NAME, "is no file", f"move {path} away, and put the secrets there")
            return {}
        if stat.S_IMODE(mode) & 0o077:
            reader.report(ENV_NAME, "others on this machine can read it", f"chmod 600 {path}")
        return {key: value for key, value in dotenv_values(path).items() if value is not None}
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror or str(error) if isinstance(error, OSError) else "is no text in UTF-8"
        reader.report(ENV_NAME, f"cannot be read: {why}", f"make {path} readable for the user who runs the master")
        return {}


def _execute(path: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """Execute config.py; it is the operator's own code."""
    namespace: dict[str, Any] = {"__file__": str(path), "__name__": "config"}
    try:
        code = compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
        with _environment_as(environment):
            exec(code, namespace)  # noqa: S102 - the operator's own file
    except SyntaxError as error:
        where = f"line {error.lineno}, column {error.offset}"
        problem = ConfigProblem(where, error.msg, "fix the Python syntax of this line")
        raise ConfigError(path, [problem]) from error
    except KeyError as error:
        problem = ConfigProblem(
            str(next(iter(error.args), "a key")), "is not set", f"set it in {ENV_NAME}, or run `fleet init`"
        )
        raise ConfigError(path, [problem]) from error
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
            raise  # Ctrl-C
        # Whatever config.py raises, such as SystemExit, must not end a running master that reloads it.
        problem = ConfigProblem(type(error).__name__, str(error)[:200], "config.py has to run without an error")
        raise ConfigError(path, [problem]) from error
    return {name: value for name, value in namespace.items() if name.isupper() and not name.startswith("_")}


class _OwnEnvironment(MutableMapping[str, str]):
    """``os.environ`` with other values for one thread; every other thread sees and changes the usual ones."""

    def __init__(self, usual: MutableMapping[str, str], own: Mapping[str, str]) -> None:
        self._usual = usual
        self._own = dict(own)
        self._thread_id = threading.get_ident()

    @property
    def _seen(self) -> MutableMapping[str, str]:
        return self._own if threading.get_ident() == self._thread_id else self._usual

    def __getitem__(self, name: str) -> str:
        return self._seen[name]

    def __setitem__(self, name: str, value: str) -> None:
        self._seen[name] = value

    def __delitem__(self, name: str) -> None:
        del self._seen[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._seen)

    def __len__(self) -> int:
        return len(self._seen)

    def __repr__(self) -> str:
        return "environ(...)"  # it has secrets

    def copy(self) -> dict[str, str]:
        """Return the values, as ``os.environ.copy`` does."""
        return dict(self._seen)


@contextmanager
def _environment_as(values: Mapping[str, str]) -> Iterator[None]:
    """Let config.py, and nothing else, see ``os.environ`` with ``.env``.

    A running master reloads its config while other threads start processes, and config.py may never end: no secret is
    ever put into the process's own environment.
    """
    usual = os.environ
    os.environ = _OwnEnvironment(usual, values)  # type: ignore[assignment]  # noqa: B003 - the environment stays as it is
    try:
        yield
    finally:
        os.environ = usual  # noqa: B003


def state_dir_of(home: Path, environment: Mapping[str, str]) -> Path:
    """Return the state folder of a home, even if its config is missing or wrong: a master may still run there."""
    default = home / "state"
    try:
        values = _execute(home / CONFIG_NAME, {**environment, **_read_env(home / ENV_NAME, Reader(home, {}))})
    except (ConfigError, OSError):
        return resolved(default)
    given = values.get("STATE_DIR", "state")
    return resolved(home / expanded(given) if isinstance(given, str | Path) else default)


def _build(home: Path, values: Mapping[str, Any], reader: Reader, secrets: Mapping[str, str]) -> Settings:
    """Build the settings; valid only if ``reader`` has no problems."""
    settings = Settings(**reader.section(Settings, values, home=home))
    database = _resolve_database(settings.database, home, settings.state_dir, reader)
    identity = replace(settings.identity, **_rotation(secrets, reader))
    shop = replace(settings.shop, **_shop_secrets(secrets))
    announce = _announce_secrets(settings.announce, secrets)
    settings = replace(settings, database=database, identity=identity, shop=shop, announce=announce)
    for problem in contradictions(settings):
        # With invalid values replaced by defaults, further checks would report false problems.
        if not any(known.key.startswith(problem.key) for known in reader.problems):
            reader.problems.append(problem)
    return settings


def _check_pattern(text: str) -> str:
    # Imported here: a config without patterns needs no RE2.
    import re2

    try:
        re2.compile(text)
    except re2.error as error:
        raise FleetError(f"is no pattern: {error}", hint="https://github.com/google/re2/wiki/Syntax") from error
    return text


def _check_token(text: str) -> str:
    check_token_text(text)
    return text


FORMS: dict[str, Form] = {
    "master secret": check_master_secret,
    "bot token": _check_token,
    "node name": str.casefold,
    "command line": check_command,
    "schedule": check_schedule,
    "readiness": check_ready_sign,
    "pattern": _check_pattern,
}
"""Parsers of texts, by the names that the types of the settings use."""


def _rotation(secrets: Mapping[str, str], reader: Reader) -> dict[str, Any]:
    """Read the entries that `fleet rotate-secret` writes to .env; config.py does not use them."""
    try:
        found = {
            name: Secret(check_master_secret(secrets[key])) if secrets.get(key) else None
            for name, key in (("previous_secret", "MASTER_SECRET_PREVIOUS"), ("next_secret", "MASTER_SECRET_NEXT"))
        }
        return {"kept_keys": decode_kept_keys(secrets.get("MASTER_KEPT_KEYS", "")), **found}
    except SecretRefused as error:
        reader.report(ENV_NAME, error.message, error.hint)
        return {}


def _shop_secrets(secrets: Mapping[str, str]) -> dict[str, Secret[str]]:
    """Return what the shops sign with; config.py does not use it."""
    names = {"stripe_secret": "STRIPE_WEBHOOK_SECRET", "kofi_token": "KOFI_VERIFICATION_TOKEN"}
    return {field: Secret(secrets[name].strip()) for field, name in names.items() if secrets.get(name, "").strip()}


def _announce_secrets(announce: Mapping[str, AnnouncePlace], secrets: Mapping[str, str]) -> Mapping[str, AnnouncePlace]:
    """Return the places with their addresses, which hold passwords; config.py does not use them."""

    def with_address(name: str, place: AnnouncePlace) -> AnnouncePlace:
        found = secrets.get(f"ANNOUNCE_{name.upper().replace('-', '_')}", "").strip()
        return replace(place, url=Secret(found)) if found else place

    return {name: with_address(name, place) for name, place in announce.items()}


def _resolve_database(given: DatabaseSettings, home: Path, state_dir: Path, reader: Reader) -> DatabaseSettings:
    """Return the database settings with their URL: as given, built from SERVER and the other keys, or the default."""
    url = given.url.reveal() or f"sqlite:///{state_dir / 'ledger.db'}"
    if given.server is not None:
        told = any(problem.key.startswith("DATABASE") for problem in reader.problems)
        if not told and not given.trusted_connection and (given.user is None or given.password is None):
            fix = "set both, or TRUSTED_CONNECTION: True"
            reader.report("DATABASE['USER'], ['PASSWORD']", "are not both set", fix)
        url = _sql_server_url(given)
    elif url.startswith("sqlite:///") and not url.startswith("sqlite:////"):
        try:
            url = f"sqlite:///{resolved(home / url.removeprefix('sqlite:///'))}"
        except PathRefused as error:
            reader.report("DATABASE['URL']", error.message, error.hint)
    elif not url.startswith(("sqlite:////", "mssql+pyodbc://")):
        # Not shown: it may contain a password.
        reader.report("DATABASE['URL']", "is not for a supported database", "sqlite:///... or mssql+pyodbc://...")
    return replace(given, url=Secret(url))


def _sql_server_url(given: DatabaseSettings) -> str:
    password = "" if given.password is None else given.password.reveal()
    parts = {
        "DRIVER": "{" + given.driver.strip("{}") + "}",
        "SERVER": given.server,
        "DATABASE": given.database,
        "Encrypt": "yes" if given.encrypt else "no",
        "TrustServerCertificate": "yes" if given.trust_certificate else "no",
    }
    account = {"UID": given.user, "PWD": "{" + password.replace("}", "}}") + "}"}
    parts.update({"Trusted_Connection": "yes"} if given.trusted_connection else account)
    connection = ";".join(f"{name}={value}" for name, value in parts.items())
    return f"mssql+pyodbc:///?odbc_connect={quote_plus(connection)}"
