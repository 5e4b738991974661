"""Lines that healthy bots write, and that every kind of error has in common: who knows many of them knows no error."""

from __future__ import annotations

ORDINARY_LINES: tuple[str, ...] = tuple(
    """\
[INFO    ] discord.client: logging in using static token
[INFO    ] discord.gateway: Shard ID None has connected to Gateway (Session ID: 0f3b2c1d4e5f60718293a4b5c6d7e8f9).
[INFO    ] discord.gateway: Shard ID None has successfully RESUMED session 0f3b2c1d4e5f60718293a4b5c6d7e8f9.
[INFO    ] discord.gateway: Shard ID 0 has connected to Gateway (Session ID: 99aa88bb77cc66dd55ee44ff33112200).
[WARNING ] discord.client: PyNaCl is not installed, voice will NOT be supported
INFO:discord.client:logging in using static token
INFO:discord.gateway:Shard ID None has connected to Gateway (Session ID: ab12).
DEBUG:asyncio:Using selector: EpollSelector
DEBUG:discord.gateway:Keeping shard ID None websocket alive with sequence 42.
DEBUG:discord.http:GET https://discord.com/api/v10/users/@me with None has returned 200
DEBUG:discord.http:POST https://discord.com/api/v10/channels/123456789012345678/messages has returned 200
DEBUG:discord.http:PUT https://discord.com/api/v10/channels/1/messages/2/reactions/%F0%9F/@me has returned 204
DEBUG:discord.client:Dispatching event message
DEBUG:discord.client:Dispatching event socket_event_type
DEBUG:discord.client:Dispatching event guild_available
DEBUG:discord.state:Processed a chunk for 250 members in guild ID 123456789012345678.
[INFO    ] bot: Logged in as atlas#1234 (123456789012345678)
[INFO    ] bot: Synced 12 application commands
[INFO    ] bot: Loaded extension cogs.music
[INFO    ] bot: Loaded extension cogs.moderation
[INFO    ] bot: Reloaded extension cogs.fun
[INFO    ] cogs.welcome: greeted anna#0001 in Test Guild
[INFO    ] cogs.giveaway: giveaway 17 ended, 3 winners of 240 entries
[DEBUG   ] cogs.tickets: ticket 42 opened by 234567890123456789
[WARNING ] cogs.music: queue is empty, leaving the channel in 300 s
[WARNING ] bot: config.json has no entry for log_channel, using the default
[ERROR   ] bot: could not send the daily report, will try again in 60 s
[ERROR   ] discord.ext.commands.bot: Ignoring exception in command ping
[ERROR   ] discord.ext.commands.bot: Ignoring exception in command play
[ERROR   ] discord.app_commands.tree: Ignoring exception in command 'warn'
[ERROR   ] discord.app_commands.tree: Ignoring exception in autocomplete for 'play'
[ERROR   ] discord.client: Ignoring exception in on_message
[ERROR   ] discord.client: Ignoring exception in on_member_join
[ERROR   ] discord.ui.view: Ignoring exception in view <Confirm timeout=180.0 children=2> for item <Button label='Yes'>
ready
Bot is ready!
Bot is online.
Logged in as atlas#1234
We have logged in as Atlas
Connected to Discord, 3 guilds, 1204 members
Starting bot ...
Loading cogs ...
Loaded 14 commands
Done.

---
==========
Press Ctrl+C to stop
Shutting down
bye
Hello, world
1
42
ok
None
True
[]
{}
{'guild': 123456789012345678, 'prefix': '!'}
anna: hi there
bob: !play https://example.org/song.mp3
carol: did anybody see the error yesterday?
dave: my game crashed again lol
erin: it says connection failed, what do I do?
mallory: exit code 1 haha
frank: timeout him please
grace: permission denied for this channel?
2026-11-22 10:00:00 INFO     discord.client logging in using static token
2026-11-22 10:00:01,123 - INFO - root - tick
2026-11-22 10:00:02,456 - DEBUG - root - cache hit for guild 123456789012345678
2026-11-22T10:00:03Z INFO heartbeat acknowledged after 41 ms
10:00:04 INFO: latency 0.041
[10:00:05] [INFO] 3 reminders are due
Nov 22 10:00:06 box bot[812]: started
  File "bot.py", line 412, in <module>
    main()
  File "bot.py", line 398, in main
    bot.run(TOKEN)
  File "cogs/music.py", line 88, in play
    await self.queue.put(track)
  File "cogs/moderation.py", line 131, in warn
    await member.send(embed=embed)
  File "cogs/tickets.py", line 57, in open
    channel = await guild.create_text_channel(name)
  File "/usr/lib/python3.11/asyncio/runners.py", line 190, in run
    return runner.run(main)
  File "/usr/lib/python3.11/asyncio/base_events.py", line 653, in run_until_complete
    return future.result()
  File "/srv/bots/atlas/.venv/lib/python3.11/site-packages/discord/client.py", line 449, in _run_event
    await coro(*args, **kwargs)
  File "/srv/bots/atlas/.venv/lib/python3.11/site-packages/discord/ext/commands/core.py", line 235, in wrapped
    ret = await coro(*args, **kwargs)
  File "/srv/bots/atlas/.venv/lib/python3.11/site-packages/discord/http.py", line 748, in request
    raise HTTPException(response, data)
  File "/srv/bots/atlas/.venv/lib/python3.11/site-packages/aiohttp/client.py", line 1197, in _request
    conn = await self._connector.connect(
  File "<frozen importlib._bootstrap>", line 1206, in _gcd_import
  File "/srv/bots/atlas/.venv/lib/python3.11/site-packages/discord/app_commands/commands.py", line 857, in _do_call
    return await self._callback(self.binding, interaction, **params)
  File "/srv/bots/atlas/utils/db.py", line 33, in fetch
    row = await cursor.fetchone()
Traceback (most recent call last):
Traceback (most recent call last):
Traceback (most recent call last):
Traceback (most recent call last):
Traceback (most recent call last):
Traceback (most recent call last):
    ^^^^^^^^^^^^^^^^^^^^^^^^
           ^^^^^^^^^^^^^^^^^^^
    ~~~~~~~~^^^^^^
The above exception was the direct cause of the following exception:
During handling of the above exception, another exception occurred:
  + Exception Group Traceback (most recent call last):
  | ExceptionGroup: unhandled errors in a TaskGroup (1 sub-exception)
  +-+---------------- 1 ----------------
ValueError: invalid literal for int() with base 10: 'abc'
KeyError: 'prefix'
TypeError: unsupported operand type(s) for +: 'int' and 'str'
AttributeError: 'NoneType' object has no attribute 'send'
IndexError: list index out of range
ZeroDivisionError: division by zero
AssertionError
NameError: name 'foo' is not defined
UnboundLocalError: cannot access local variable 'x'
StopIteration
Exception: something went wrong
Exception in thread Thread-1 (poll):
Exception ignored in: <function Pool.__del__ at 0x7f2a3c4d5e6f>
RuntimeError: boom
discord.ext.commands.errors.CommandInvokeError: Command raised an exception: ValueError: boom
discord.ext.commands.errors.MissingRequiredArgument: member is a required argument that is missing.
discord.ext.commands.errors.BadArgument: Converting to "int" failed for parameter "count".
discord.app_commands.errors.CommandInvokeError: Command 'warn' raised an exception: KeyError: 'prefix'
discord.ext.commands.errors.CommandNotFound: Command "halp" is not found
discord.ext.commands.errors.CommandOnCooldown: You are on cooldown. Try again in 3.20s
exit code 0
exit code 1
exit code 2
exit code 3
exit code 70
signal SIGTERM
signal SIGINT
starting: asked by an operator
ready: logged in
stopping: asked by an operator
stopped: asked by an operator
backoff: 1 s
command /ping: ValueError: boom
command /warn: KeyError: 'prefix'
event on_message: TypeError: boom
startup cogs/fun.py: SyntaxError: invalid syntax (fun.py, line 3)
task cogs.news.poll: ValueError: boom
gateway closed with 1000
gateway closed with 1001
npm WARN deprecated request@2.88.2: request has been deprecated
> bot@1.0.0 start
> node index.js
[dotenv] injecting env (4) from .env
(node:812) ExperimentalWarning: The Fetch API is an experimental feature.
Ready! Logged in as Atlas#1234
    at Client.emit (node:events:517:28)
    at process.processTicksAndRejections (node:internal/process/task_queues:95:5)
    at async Object.execute (/srv/bots/n/commands/ping.js:12:5)
Error: boom
INFO  [main] JDA - Login Successful!
INFO  [JDA MainWS-ReadThread] WebSocketClient - Connected to WebSocket
Sharding 1 of 1
cache: 1204 members, 88 channels, 12 roles
player: connected to node eu-1 in 132 ms
player: track ended, 3 left
db: opened data.sqlite3 in WAL mode
db: migrated from 6 to 7
db: vacuum took 120 ms
http: GET /status 200 3 ms
http: POST /webhook 204 12 ms
GET /health HTTP/1.1 200 OK
127.0.0.1 - - [22/Nov/2026 10:00:00] "GET / HTTP/1.1" 200 -
scheduler: next run in 3600 s
scheduler: job cleanup finished in 0.4 s
memory: 48.2 MB, 17 tasks, latency 41 ms
reminder 81 sent to 234567890123456789
level up: anna is level 12 now
role Member given to bob#0002
message deleted in #general by carol#0003
vote: 12 for, 3 against
poll 9 closed
backup written to backups/2026-11-22.json
config reloaded
prefix of guild 123456789012345678 is now ?
translated 14 strings to de
image rendered in 230 ms
feed https://example.org/rss: 2 new items
stream of dave is live
price of BTC: 91234.50 USD
weather for Berlin: 4 C, rain
retrying in 5 s
still waiting ...
request took 1.2 s
slow query: 312 ms
DeprecationWarning: There is no current event loop
  warnings.warn(
/srv/bots/atlas/bot.py:12: DeprecationWarning: 'audioop' is deprecated and slated for removal in Python 3.13
  import audioop
Collecting discord.py
Requirement already satisfied: aiohttp in ./.venv/lib/python3.11/site-packages
Successfully installed aiosqlite-0.21.0
WARNING: You are using pip version 22.0.4; however, version 25.3 is available.
0 errors, 0 warnings
error rate 0.0 %
no errors found
failed: 0, passed: 12
exception handler installed
timeout set to 30 s
connection pool of 5 opened
token loaded from the environment
permissions synchronised for 3 guilds
disk: 41 % used
clock offset 0.003 s
""".splitlines()
)
