"""Calls one tool of a protected MCP server with the official SDK client, given nothing but a URL and credentials.

Usage: call.py URL CREDENTIALS_DIR TOOL [ARGUMENTS_JSON]

CREDENTIALS_DIR holds what a client's Secret holds, a file each: client_id, client_secret, issuer, token_endpoint and,
while the authorization server uses the operator's CA, ca.crt. Prints one JSON object: the tools that were listed, and
the result of the call or its error.
"""

import asyncio
import json
import pathlib
import ssl
import sys

import httpx2
from mcp import Client
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.client.streamable_http import streamable_http_client


class Memory:
    """Token storage for one run."""

    def __init__(self):
        self.tokens = None
        self.client = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client):
        self.client = client


def reason(error):
    """The innermost exceptions of a group, as text."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(reason(inner) for inner in error.exceptions)
    return f"{type(error).__name__}: {error}"


async def main(url, directory, tool, arguments):
    secret = {path.name: path.read_text() for path in pathlib.Path(directory).iterdir() if path.is_file()}
    auth = ClientCredentialsOAuthProvider(
        server_url=url,
        storage=Memory(),
        client_id=secret["client_id"],
        client_secret=secret["client_secret"],
        issuer=secret["issuer"],
    )
    trust = ssl.create_default_context(cadata=secret["ca.crt"]) if "ca.crt" in secret else ssl.create_default_context()
    statuses = []

    async def record(response):
        if str(response.request.url) == url:
            statuses.append([response.status_code, response.headers.get("www-authenticate")])

    out = {"statuses": statuses}
    try:
        async with httpx2.AsyncClient(
            auth=auth, verify=trust, timeout=20, event_hooks={"response": [record]}
        ) as http:
            async with Client(streamable_http_client(url, http_client=http)) as client:
                out["tools"] = [listed.name for listed in (await client.list_tools()).tools]
                result = await client.call_tool(tool, arguments)
                out["result"] = result.model_dump(mode="json", exclude_none=True)
    except Exception as error:
        out["error"] = reason(error)
    print(json.dumps(out))


if len(sys.argv) < 4:
    sys.exit(__doc__)
asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], json.loads(sys.argv[4]) if len(sys.argv) > 4 else {}))
