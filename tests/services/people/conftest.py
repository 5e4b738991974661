"""A master with tickets, on a server with staff, and nodes that ask it with their own keys."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import discord
import pytest
from msgspec.structs import replace

from handshake.messages import Body, TicketPermissionRequest, TicketRequest, VerificationRequest
from handshake.signing import Signer, Verifier
from master.bot.port import DiscordPyPort
from master.configuration.settings import Settings, TicketCategory, TicketSettings
from master.ledger.rows import ticket_permissions, tickets
from master.ledger.rows.records import Node, Ticket, TicketPermission
from master.operations import onboarding
from master.services.container import DiscordView
from master.services.core.actors import Actor
from master.services.onboarding.saga import CloneRequest
from master.services.people.ticketing import Ticketing
from master.services.trust.source import Source
from nodekit.endpoints import apply_endpoints
from sandbox import BotHandle, GuildHandle, Person, Sandbox, permissions
from sandbox.records import Channel
from tests.services.conftest import OPERATOR, House, open_house

MASTER_BITS = (
    permissions.EVERYONE_DEFAULT
    | permissions.MANAGE_CHANNELS
    | permissions.MANAGE_ROLES
    | permissions.MANAGE_MESSAGES
    | permissions.MANAGE_THREADS
    | permissions.CREATE_PRIVATE_THREADS
)
LOCAL = Source(transport="local", pid=1)
