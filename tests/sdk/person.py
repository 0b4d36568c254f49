"""An MCP client of a person, on the official SDK as it is, given nothing but the URL of a protected server.

Usage: person.py URL [CLIENT_ID_URL]

Finds the authorization server, registers there (or is CLIENT_ID_URL), sends the person to $BROWSER, and takes the answer
on a loopback port of its own. Then calls a tool, one that needs more than was granted at first, and the first again with
an access token that the server no longer takes. Prints a JSON object per line. SSL_CERT_FILE names what is trusted.
"""

import asyncio
import json
import os
import sys
from urllib.parse import parse_qs, urlsplit

import httpx2
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientMetadata

NAME = "Python Example Client"
LIMIT = 120


def say(event, **members):
    print(json.dumps({"event": event, **members}), flush=True)


class Memory:
    """Token storage for one run."""

    def __init__(self):
        self.tokens = None
        self.client = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        say("tokens", scope=tokens.scope, refresh=tokens.refresh_token is not None)
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client):
        say("client", id=client.client_id)
        self.client = client


class Callback:
    """The loopback address that the browser is sent back to."""

    async def listen(self):
        self.answers = asyncio.Queue()
        self.server = await asyncio.start_server(self.answer, "127.0.0.1", 0)
        port = self.server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/callback"

    async def answer(self, reader, writer):
        target = (await reader.readline()).split()[1].decode()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\nYou can close this page.\n")
        await writer.drain()
        writer.close()
        if target.startswith("/callback?"):
            await self.answers.put({name: values[0] for name, values in parse_qs(urlsplit(target).query).items()})

    async def send_person(self, url):
        browser = await asyncio.create_subprocess_exec(*os.environ["BROWSER"].split(), url, stdout=asyncio.subprocess.PIPE)
        printed, _ = await asyncio.wait_for(browser.communicate(), LIMIT)
        if browser.returncode != 0:
            raise RuntimeError(f"the browser: {printed.decode()}")

    async def wait(self):
        answer = await asyncio.wait_for(self.answers.get(), LIMIT)
        if "error" in answer:
            raise RuntimeError(f"refused: {answer}")
        return AuthorizationCodeResult(code=answer["code"], state=answer.get("state"), iss=answer.get("iss"))


def reason(error):
    """The innermost exceptions of a group, as text."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(reason(inner) for inner in error.exceptions)
    return f"{type(error).__name__}: {error}"


async def main(url, client_id_url):
    callback = Callback()
    await callback.listen()
    memory = Memory()
    auth = OAuthClientProvider(
        server_url=url,
        client_metadata=OAuthClientMetadata(
            client_name=NAME,
            redirect_uris=[callback.url],
            grant_types=["authorization_code", "refresh_token"],
            token_endpoint_auth_method="none",
        ),
        storage=memory,
        redirect_handler=callback.send_person,
        callback_handler=callback.wait,
        client_metadata_url=client_id_url,
    )

    async def record(response):
        where = urlsplit(str(response.request.url))
        say("answer", method=response.request.method, path=where.path, status=response.status_code)

    async with httpx2.AsyncClient(auth=auth, timeout=LIMIT, event_hooks={"response": [record]}) as http:
        async with Client(streamable_http_client(url, http_client=http)) as client:
            say("tools", names=[tool.name for tool in (await client.list_tools()).tools])
            for tool, arguments in [
                ("search_invoices", {"query": "northwind"}),
                ("send_reminder", {"invoice": "INV-1001"}),
            ]:
                result = await client.call_tool(tool, arguments)
                say("called", tool=tool, text=result.content[0].text)
            # As if the access token had ended: the SDK refreshes by itself.
            auth.context.token_expiry_time = 1.0
            result = await client.call_tool("search_invoices", {"query": "contoso"})
            say("called", tool="search_invoices", text=result.content[0].text)


if len(sys.argv) < 2:
    sys.exit(__doc__)
try:
    asyncio.run(main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None))
    say("done")
except BaseException as error:
    say("failed", reason=reason(error))
    sys.exit(1)
