"""The native protocol against PyPI's `websockets`."""

import asyncio
import json
import unittest
import urllib.request

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from server import Server


class Client:
    """A connection, and what has arrived on it and nobody has taken yet."""

    def __init__(self, socket):
        self.socket = socket
        self.arrived = []

    async def send(self, **frame):
        await self.socket.send(json.dumps(frame))

    async def next(self, **fields):
        """Takes the first frame with these fields, waiting for it."""
        matches = lambda frame: fields.items() <= frame.items()
        while not any(map(matches, self.arrived)):
            self.arrived.append(json.loads(await asyncio.wait_for(self.socket.recv(), 10)))
        found = next(filter(matches, self.arrived))
        self.arrived.remove(found)
        return found

    async def ask(self, **frame):
        await self.send(**frame, ref="r")
        return await self.next(ref="r")


class WebSockets(unittest.IsolatedAsyncioTestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(Server())

    async def client(self, query="", **options):
        url = f"ws://{self.server.address}/ws{query}"
        return Client(await self.enterAsyncContext(connect(url, **options)))

    def room(self):
        return f"live:{self.id()}"

    async def test_a_client_is_welcomed(self):
        client = await self.client()
        welcome = await client.next(type="welcome")
        self.assertEqual(welcome["heartbeat"], 30000)

    async def test_what_others_publish_is_read_and_what_it_publishes_is_read_by_others(self):
        one, other = await self.client(), await self.client()
        for client in (one, other):
            await client.ask(type="join", room=self.room())
        await one.ask(type="broadcast", room=self.room(), payload={"from": "one"})
        await other.ask(type="broadcast", room=self.room(), payload={"from": "other"})
        heard = [(await other.next(type="broadcast"))["payload"], (await one.next(type="broadcast"))["payload"]]
        self.assertEqual(heard, [{"from": "one"}, {"from": "other"}])

    async def test_what_is_posted_is_read(self):
        client = await self.client()
        await client.ask(type="join", room=self.room())
        url = f"http://{self.server.address}/api/rooms/{self.room()}/events"
        await asyncio.to_thread(lambda: urllib.request.urlopen(url, b'{"payload":"posted"}').close())
        self.assertEqual((await client.next(type="broadcast"))["payload"], "posted")

    async def test_long_messages_are_compressed_both_ways(self):
        one, other = await self.client(), await self.client(compression=None)
        text = "what is said twice is said twice. " * 1000
        for writer, reader in ((one, other), (other, one)):
            await reader.ask(type="join", room=self.room())
            await writer.ask(type="broadcast", room=self.room(), payload=text)
            self.assertEqual((await reader.next(type="broadcast", payload=text))["room"], self.room())
        self.assertIn("permessage-deflate", one.socket.response.headers["Sec-WebSocket-Extensions"])
        self.assertNotIn("Sec-WebSocket-Extensions", other.socket.response.headers)

    async def test_a_client_that_comes_back_gets_what_it_missed(self):
        writer, gone = await self.client(), await self.client()
        epoch = (await gone.ask(type="join", room=self.room()))["payload"]["epoch"]
        await gone.socket.close()
        for number in range(5):
            await writer.ask(type="broadcast", room=self.room(), payload=number)
        back = await self.client()
        await back.ask(type="join", room=self.room(), since=f"{epoch}:2")
        missed = [(await back.next(type="broadcast"))["payload"] for _ in range(3)]
        self.assertEqual(missed, [2, 3, 4])

    async def test_the_subprotocol_is_chosen(self):
        client = await self.client(subprotocols=["denrei.v1.json"])
        self.assertEqual(client.socket.subprotocol, "denrei.v1.json")

    async def test_fragments_make_one_message(self):
        client = await self.client()
        await client.socket.send(['{"type":"call","method":"echo",', '"payload":"whole"', ',"ref":1}'])
        self.assertEqual((await client.next(ref=1))["payload"], "whole")

    async def test_its_ping_is_answered(self):
        client = await self.client()
        await asyncio.wait_for(await client.socket.ping(b"there?"), 10)

    async def test_its_close_is_answered(self):
        client = await self.client()
        await client.socket.close(3001, "bye")
        self.assertEqual(client.socket.protocol.close_rcvd.code, 3001)

    async def test_a_message_over_the_limit_closes_with_1009(self):
        client = await self.client(compression=None)
        with self.assertRaises(ConnectionClosed):
            await client.socket.send(" " * (1 << 20) + "{}")
            while True:
                await asyncio.wait_for(client.socket.recv(), 10)
        self.assertEqual(client.socket.close_code, 1009)

    async def test_a_foreign_page_is_refused(self):
        with self.assertRaises(InvalidStatus) as refused:
            await self.client(origin="https://evil.example")
        self.assertEqual(refused.exception.response.status_code, 403)


if __name__ == "__main__":
    unittest.main()
