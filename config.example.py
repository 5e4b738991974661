"""The fleet's configuration. `fleet init` writes a copy of this as config.py; secrets stay in .env beside it."""

import os

# The folder of ledger, sockets and logs; like all paths here, relative to this file.
STATE_DIR = "state"

# The ledger: where the fleet remembers its nodes, licences and history.
# SQLite needs nothing. docs/sql-server.md leads to SQL Server.
DATABASE = {
    "URL": "sqlite:///state/ledger.db",
    # For SQL Server these instead of the URL (`FLEET_EXTRAS=sqlserver ./fleet doctor` installs what it takes):
    # "SERVER": "box,1433",
    # "DATABASE": "DISCORDBOT",
    # "USER": "fleetmaster",
    # "PASSWORD": os.environ["LEDGER_PASSWORD"],
    # "DRIVER": "auto",  # the best that is installed; or its name, such as "ODBC Driver 18 for SQL Server"
    # "TRUSTED_CONNECTION": False,  # True: with the operating system's account, without user and password
    # "ENCRYPT": True,
    # "TRUST_CERTIFICATE": False,  # True for a self-signed one
    # "CONNECT_TIMEOUT_S": 10,
    # "STATEMENT_TIMEOUT_S": 15,
}

IDENTITY = {
    # The folder that holds one folder for each bot.
    "BOTS_BASE_PATH": "bots",
    # What new nodes are cloned from; None: the HandshakeBot that comes with Fleetmaster.
    "TEMPLATE_PATH": None,
    # Your server: slash commands appear there at once. None: everywhere, which may take Discord an hour.
    "GUILD_ID": None,
    # Other servers of yours with the same slash commands. Elsewhere the master answers nobody.
    "MORE_GUILDS": [],
    # Every key of the fleet is derived from this. Made by `fleet init`; never share it, and keep a copy of it.
    "MASTER_SECRET": os.environ.get("MASTER_SECRET", ""),
    # The master's own bot token. Empty: the fleet runs without Discord commands.
    "MASTER_TOKEN": os.environ.get("MASTER_TOKEN", ""),
}

# Channel ids (Developer Mode, right click, Copy Channel ID); None: not used.
CHANNELS = {
    # Signed messages between nodes and master. Keep people out of it.
    "VERIFY": None,
    # Patches are posted here.
    "PATCH": None,
    # What you should hear of: refused messages, crashes, errors.
    "LOG": None,
}

# What stands before a node in Discord. One of your server's: "<:name:id>".
EMOJIS = {
    "READY": "🟢",
    "STARTING": "🟡",
    "DEGRADED": "🟠",
    "STOPPED": "⚪",
    "FAILED": "🔴",
    "SUCCESS": "✅",
    "ERROR": "❌",
}

# Colours of embeds.
COLORS = {
    "SUCCESS": 0x2ECC71,
    "ERROR": 0xE74C3C,
    "WARNING": 0xF1C40F,
    "INFORMATION": 0x3498DB,
}

# Who may steer the fleet from Discord: user ids, and ids of roles. Discord shows the commands to people with Manage
# Server, and to whom you allow them in Server Settings > Integrations; an operator who is neither does not see them.
OPERATORS = {
    "USERS": [],
    "ROLES": [],
}

# Who may look at it, and change nothing.
VIEWERS = {
    "USERS": [],
    "ROLES": [],
}

# Who may moderate: tickets, giveaways. They need not be operators.
MODERATORS = {
    "USERS": [],
    "ROLES": [],
}

# How nodes are watched and restarted. Times in seconds, sizes in bytes.
SUPERVISION = {
    "PULSE_INTERVAL_S": 9.0,  # how often a node says that it lives
    "MISSED_PULSES": 3,  # this many missing: degraded; twice as many: restarted
    "READY_TIMEOUT_S": 90.0,  # from a start to the node's own word that it is ready
    "GRACE_S": 10.0,  # from SIGTERM to SIGKILL
    "BACKOFF_INITIAL_S": 1.0,  # the first restart is at once, the second after this ...
    "BACKOFF_FACTOR": 2.0,  # ... each further one after this many times as long ...
    "BACKOFF_CAP_S": 60.0,  # ... but no longer than this
    "BACKOFF_JITTER": 0.2,  # spread by this share, so that a fleet does not restart in step
    "STEADY_AFTER_S": 10.0,  # ready for this long before its exit: started again at once
    "HEALTHY_AFTER_S": 120.0,  # ready for this long: past exits are forgotten
    "QUARANTINE_EXITS": 6,  # more exits than this ...
    "QUARANTINE_WINDOW_S": 120.0,  # ... in this time: quarantined ...
    "QUARANTINE_RETRY_S": 900.0,  # ... and tried again this often
    "CONCURRENT_STARTS": 4,  # starts under way at the same moment, each until its node is ready
    "LOG_MAX_BYTES": 1_000_000,  # a node's log file is rotated at this size
    "LOG_FILES": 3,  # files kept for each stream
    "LOG_RATE_BYTES_S": 65_536,  # a node that writes more for long is cut short, and told how much; 0: no limit
    "MEMORY_LIMIT_BYTES": 0,  # above this (RSS) a node is restarted gracefully; 0: no limit
    "MEMORY_HARD_LIMIT_BYTES": 0,  # the kernel holds it to this: by cgroup v2, else by RLIMIT_DATA; 0: no limit
    "OPEN_FILES_LIMIT": 4096,
    "CPU_WEIGHT": 100,  # 1 to 10,000: its share when the processor is short
    "ISOLATED": True,  # nodes open only their own folder and the system's programs (Landlock; docs/security.md)
    "MERGE_MEMORY": True,  # equal pages of nodes are kept once (KSM), which `fleet doctor` looks at
}

# What is different for single nodes, by name. All entries may be left out.
NODES = {
    # "welcome": {
    #     "PRIORITY": 10,  # the lowest number is started first
    #     "AFTER": ["database-bot"],  # waits until these are ready, or given up
    #     "MEMORY_LIMIT_BYTES": 150_000_000,
    #     "MEMORY_HARD_LIMIT_BYTES": 0,
    #     "OPEN_FILES_LIMIT": 1024,
    #     "CPU_WEIGHT": 50,
    #     "PLAIN": False,  # True: an interpreter of its own, never forked from the zygote
    #     "ISOLATED": True,  # False: it may open whatever the master may
    #     "READABLE": ["/srv/music"],  # what it may read and run besides
    #     "WRITABLE": ["/srv/uploads"],  # what it may change, too
    #     "COMMAND": "node index.js",  # the whole command, where it is not Python and its entry file; no shell runs it
    #     "INTERPRETER": "python3.12",  # what runs its entry file
    #     "ARGS": "--verbose",  # what comes after its entry file
    #     "ENV": {"LANG": "de_DE.UTF-8"},  # environment variables ...
    #     "ENV_FILE": "env/welcome.env",  # ... and a file of more, for those that are secret (chmod 600)
    #     "CRON_RESTART": "0 5 * * *",  # restarted at these times
    #     "WATCH": [".", "!state"],  # while developing: a change of these files restarts it; those with ! do not
    #     "READY_WHEN": "port:8080",  # or "log:PATTERN", or "http://127.0.0.1:8080/health"; a program without the kit
    # },
}

# How many days events are kept in the ledger; 0: for ever. The audit log is never pruned.
RETENTION = {
    "HANDSHAKE_EVENTS": 90,
    "PROCESS_EVENTS": 90,
    "ERROR_EVENTS": 180,
    "PATCH_TRACKING": 365,
    "SOLUTION_RUNS": 365,
    "PULSE_SNAPSHOTS": 30,
}

# What is done about errors of nodes (docs/solutions.md).
HEALING = {
    "ENABLED": True,  # False: errors are grouped and told, and nothing is done about them
    "DETECT_ONLY_S": 86_400.0,  # how long a new solution of yours says what it would do before it acts
    "MOST_REPAIRS_AN_HOUR": 12,  # on one node, by all solutions together
    # What may be installed into a node's own environment: by the name of the missing module, in exactly this version.
    "PACKAGES": {},  # {"aiosqlite": "aiosqlite==0.21.0"}
    "SENTRY_PORT": 0,  # on the loopback address, for what sentry-sdk in nodes sends; 0: none
}

# How patches are rolled out (docs/patches.md), where they do not say it themselves.
PATCHES = {
    "CANARY": 1,  # nodes that get a patch first; 0: none
    "WAVES": (25, 100),  # percent of the nodes that have it after each wave that follows
    "SOAK_S": 300.0,  # how long a wave is watched before the next one begins
    "MOST_SOAK_S": 3_600.0,  # the same while nothing happens that says anything; then an operator is asked
    "MOST_FAILED": 0,  # nodes that may fail before the patch is bad, and goes back
    "ANSWER_WITHIN_S": 60.0,  # a node that says nothing for so long has failed
    "AT_ONCE": 25,  # nodes that take it at the same time without a restart
    "BACK_AT_ONCE": 5,  # nodes that go back at the same time
    "APPROVALS": 1,  # operators who have to approve a patch; 2: the two-person rule
    "MEMORY_SLOPE_MB_H": 50.0,  # a patched node that grows this much faster than before has a leak
}

HANDSHAKE = {
    # "auto": the local socket on the same box, VERIFY_CHANNEL when that fails; or "local", or "channel".
    "TRANSPORT": "auto",
    "CHANNEL_PULSE_INTERVAL_S": 240.0,  # pulses in the channel are rare: Discord counts messages
    "KEY_HANDOVER_S": 60.0,  # after `fleet rotate-secret`: how long a node has to come for its new key
    "CLOCK_SKEW_S": 60.0,  # how far the clocks of node and master may be apart before that is told
}

# Another Discord-compatible server, both or neither; None: Discord itself.
DISCORD = {
    "API_BASE": None,
    "GATEWAY_URL": None,
}

# Licence tiers: their days (0: for ever), or all of it (docs/licences.md). New nodes get the first.
LICENCES = {
    "standard": 0,
    "trial": 14,
    # "pro": {
    #     "DAYS": 365,
    #     "NODES": 10,  # on which one licence may be in use; 0: any number
    #     "PEOPLE": 1,  # who may redeem one code
    #     "FEATURES": ("exports",),  # what nodes may ask for by name
    #     "ROLE_ID": None,  # its holder has this role
    #     "ON_EXPIRY": "restrict",  # or "revoke", or "keep"
    #     "GRACE_DAYS": 7,
    #     "TRANSFERS_A_MONTH": 1,
    # },
}

# Where a shop sells licences (docs/licences.md). Its secret is in .env.
SHOP = {
    "PORT": 0,  # on the loopback address, behind your own web server; 0: off
    "PRODUCTS": {},  # {"price_1Abc": "pro"}
}

GIVEAWAYS = {
    "EDIT_EVERY_S": 15.0,  # the count of entries on the message is edited at most so often
    "MOST_OPEN": 25,  # on one server
    "CLAIM_HOURS": 48.0,  # how long winners have to claim a prize that cannot be sent to them
}

# Tickets (docs/tickets.md): nodes show them, the master makes their channels and lets people in.
TICKETS = {
    "CATEGORIES": {
        # "support": {
        #     "CHANNEL_ID": None,  # the category; with threads the channel
        #     "THREADS": False,
        #     "STAFF_ROLES": [],
        #     "LOG_CHANNEL_ID": None,  # for transcripts
        #     "NODES": [],  # which nodes may open them; none named: all
        #     "QUESTIONS": ("What is it about?",),
        #     "MOST_OPEN_EACH": 1,
        #     "MOST_A_DAY": 5,
        #     "LIMITS_BY_ROLE": {},  # {ROLE_ID: 3}, or {ROLE_ID: {"MOST_OPEN": 3, "MOST_A_DAY": 10}}; 0: none
        #     "STALE_HOURS": 48.0,  # 0: never
        #     "CLOSE_HOURS": 24.0,  # after the warning
        # },
    },
    "ASK_FOR": ["staff"],  # permission sets that a person approves each time: participant, observer, staff
    "MOST_HOURS": 168.0,  # the longest time for which a node gets somebody into a ticket
    "REQUESTS_A_MINUTE": 500,  # of one node; a ticket takes seven from its opening to its end
}

# The repair of the server's channels (docs/selffix.md): those named here, and those of channels.toml beside this file.
SELFFIX = {
    "MODE": "repair",  # "ask": a question in LOG_CHANNEL first; "off"
    "DEBOUNCE_S": 30.0,  # how long a change rests before it is looked at
    "MOST_AN_HOUR": 3,  # what was repaired so often is asked about instead
}

# Mailboxes that are watched (docs/mailbox.md); their passwords: `fleet mailbox password NAME`.
MAILBOXES = {
    # "inbox": {
    #     "HOST": "imap.example.org",
    #     "PORT": 993,
    #     "SECURITY": "tls",  # starttls, none (only for a server on this box)
    #     "USER": "bots@example.org",
    #     "LOGIN": "password",  # xoauth2, for Microsoft 365 and where app passwords are forbidden
    #     "FOLDER": "INBOX",
    #     "AUTHSERV_ID": "mx.example.org",  # as your mail server calls itself in Authentication-Results
    #     "CHANNEL_ID": None,  # where `post` posts
    #     "SMTP_HOST": "smtp.example.org",  # to answer from tickets
    #     "SMTP_PORT": 465,
    #     "SMTP_SECURITY": "tls",
    #     "RULES": {  # the first that fits counts
    #         "billing": {
    #             "SENDER": "@shop\\.example",
    #             "SUBJECT": "payment failed",
    #             "LIST_ID": "news",
    #             "BODY": "invoice",
    #             "ACTION": "notify",  # post, ticket, licence, solution, ignore
    #             "TRUSTED": True,  # only if your own mail server vouches for the sender
    #             "CHANNEL_ID": None,  # for post
    #             "CATEGORY": "support",  # for ticket
    #             "TIER": "pro",  # for licence
    #             "RENEW": False,
    #             "SOLUTION": "bad_token",  # for solution
    #             "NODE": "welcome",
    #         },
    #     },
    # },
}

# Where announcements go (docs/announcements.md): a channel, or the address in .env, ANNOUNCE_<NAME>.
ANNOUNCE = {
    # "news": {"CHANNEL_ID": None},
}
