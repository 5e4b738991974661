"""Errors of the network and of certificates, made to happen."""

from __future__ import annotations

import asyncio
import datetime
import gc
import socket
import ssl
import struct
import warnings
from pathlib import Path

import aiohttp
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from nodekit.link import _warn_of_skew
from tests.solutions.raising import Place, free_port, logs, raises


@raises("dns_failed", where="on_message", source="event")
async def dns_failed(place: Place) -> None:
    async with aiohttp.ClientSession() as session:
        await session.get("http://no-such-host.invalid/")


@raises("dns_failed", where="on_message", source="event")
async def dns_failed_of_a_socket(place: Place) -> None:
    socket.getaddrinfo("no-such-host.invalid", 443)


@raises("connection_failed", where="on_message", source="event")
async def connection_refused(place: Place) -> None:
    async with aiohttp.ClientSession() as session:
        await session.get(f"http://127.0.0.1:{free_port()}/")


@raises("connection_failed", where="on_message", source="event")
async def connection_refused_to_a_socket(place: Place) -> None:
    await asyncio.open_connection("127.0.0.1", free_port())


@raises("connection_failed", where="on_message", source="event")
async def server_disconnected(place: Place) -> None:
    await _hang_up(abort=False)


@raises("connection_failed", where="on_message", source="event")
async def connection_reset(place: Place) -> None:
    await _hang_up(abort=True)


@raises("connection_failed", where="on_message", source="event")
async def request_timed_out(place: Place) -> None:
    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(never, "127.0.0.1", 0)
    async with server, aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(sock_read=0.01)) as session:
        await session.get(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")


@raises("cog_failed_for_the_network", "connection_failed", where="cogs/music.py", source="startup", cog="music")
async def cog_failed_for_the_network(place: Place) -> None:
    await connection_refused(place)


@raises("cog_failed_for_the_network", "dns_failed", where="cogs/music.py", source="startup", cog="music")
async def cog_failed_for_want_of_dns(place: Place) -> None:
    await dns_failed(place)


async def _hang_up(*, abort: bool) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        if abort:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server, aiohttp.ClientSession() as session:
        await session.get(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")


def _certificate(folder: Path, begins_in_days: int) -> ssl.SSLContext:
    """Return the context of a server with a certificate that it made itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    begins = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=begins_in_days)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begins)
        .not_valid_after(begins + datetime.timedelta(days=9))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "server.pem").write_bytes(private + certificate.public_bytes(encoding))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    return context


async def _greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def _ask_securely(place: Place, begins_in_days: int, *, is_trusted: bool = False) -> None:
    server = await asyncio.start_server(_greet, "127.0.0.1", 0, ssl=_certificate(place.folder, begins_in_days))
    context = ssl.create_default_context(cafile=str(place.folder / "server.pem") if is_trusted else None)
    async with server, aiohttp.ClientSession() as session:
        await session.get(f"https://localhost:{server.sockets[0].getsockname()[1]}/", ssl=context)


@raises("tls_failed", where="on_message", source="event")
async def certificate_unknown(place: Place) -> None:
    await _ask_securely(place, -1)


@raises("clock_wrong", where="on_message", source="event")
async def certificate_not_yet_valid(place: Place) -> None:
    await _ask_securely(place, 3, is_trusted=True)


@raises("tls_failed", where="on_message", source="event")
async def not_tls_at_all(place: Place) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 302 Found\r\nLocation: http://portal/\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server, aiohttp.ClientSession() as session:
        await session.get(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/")


@logs("clock_wrong")
async def clock_differs(place: Place) -> None:
    _warn_of_skew(-73.2)


@raises("closed_session", where="on_message", source="event")
async def session_closed(place: Place) -> None:
    session = aiohttp.ClientSession()
    await session.close()
    await session.get("http://127.0.0.1/")


@raises("closed_session", where="on_message", source="event")
async def loop_closed(place: Place) -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    loop.call_soon(print)


@logs("unclosed_session")
async def unclosed_session(place: Place) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        session = aiohttp.ClientSession()
        connector = session.connector
        del session
        gc.collect()
    assert connector is not None
    await connector.close()


@raises("address_in_use", where="main", source="startup")
async def address_in_use(place: Place) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        await asyncio.start_server(_greet, *taken.getsockname())


@raises("address_in_use", where="main", source="startup")
async def address_in_use_of_a_socket(place: Place) -> None:
    with socket.socket() as taken, socket.socket() as second:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        second.bind(taken.getsockname())
