"""Namespace `/` against PyPI's `python-socketio`."""

import asyncio
import unittest
import urllib.request

import socketio

from server import Server


class Client:
    """A client, and what has arrived at it and nobody has taken yet."""

    def __init__(self):
        self.socket = socketio.AsyncClient(reconnection=False)
        self.events = asyncio.Queue()
        self.socket.on("*", self.take)

    async def take(self, event, *args):
        await self.events.put((event, *args))

    async def ask(self, event, *args):
        return await self.socket.call(event, args, timeout=10)

    async def next(self):
        return await asyncio.wait_for(self.events.get(), 10)


class SocketIo:
    """What holds for each way; `transports` says which."""

    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(Server())

    async def client(self):
        client = Client()
        await client.socket.connect(f"http://{self.server.address}", transports=self.transports, wait_timeout=10)
        self.addAsyncCleanup(client.socket.disconnect)
        return client

    def room(self):
        return f"live:{self.id()}"

    async def test_what_others_publish_is_read_in_order(self):
        one, other = await self.client(), await self.client()
        joined = await one.ask("join", self.room())
        self.assertEqual((joined["room"], joined["seq"]), (self.room(), 0))
        for number in range(20):
            published = await other.ask("publish", self.room(), "greeting", {"number": number})
            self.assertEqual(published, {"seq": number + 1, "epoch": joined["epoch"], "duplicate": False})
        for number in range(20):
            event, payload, meta = await one.next()
            self.assertEqual((event, payload, meta["seq"]), ("greeting", {"number": number}, number + 1))

    async def test_bytes_are_bytes(self):
        one, other = await self.client(), await self.client()
        await one.ask("join", self.room())
        await other.ask("publish", self.room(), "file", {"data": b"\x00\xff", "name": "é"})
        _, payload, _ = await one.next()
        self.assertEqual(payload, {"data": b"\x00\xff", "name": "é"})

    async def test_what_is_posted_is_read(self):
        one = await self.client()
        await one.ask("join", self.room())
        url = f"http://{self.server.address}/api/rooms/{self.room()}/events"
        await asyncio.to_thread(lambda: urllib.request.urlopen(url, b'{"payload":"posted"}').close())
        self.assertEqual((await one.next())[:2], ("message", "posted"))

    async def test_who_left_hears_nothing(self):
        one, other = await self.client(), await self.client()
        await one.ask("join", self.room())
        self.assertEqual(await one.ask("leave", self.room()), {"room": self.room()})
        await other.ask("publish", self.room(), "message", 1)
        self.assertEqual((await one.ask("leave", self.room()))["code"], "not_found")
        self.assertTrue(one.events.empty())

    async def test_a_namespace_that_there_is_not_is_refused(self):
        with self.assertRaises(socketio.exceptions.ConnectionError):
            await Client().socket.connect(
                f"http://{self.server.address}", transports=self.transports, namespaces=["/nowhere"], wait_timeout=10
            )


class Polling(SocketIo, unittest.IsolatedAsyncioTestCase):
    transports = ["polling"]


class WebSocket(SocketIo, unittest.IsolatedAsyncioTestCase):
    transports = ["websocket"]


class Upgrade(SocketIo, unittest.IsolatedAsyncioTestCase):
    transports = ["polling", "websocket"]


if __name__ == "__main__":
    unittest.main()
