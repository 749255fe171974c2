// The page at `/` and the browser's own EventSource and WebSocket against a running server.
// They start a server of their own, unless DENREI_URL names one. CHROMIUM names the browser.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { chromium } from 'playwright-core';
import { Server } from '../lib/server.mjs';
import { Line } from './line.mjs';

const server = process.env.DENREI_URL ? undefined : await Server.start();
const SERVER = new URL(process.env.DENREI_URL ?? server.http);
const WAYS = ['websocket', 'sse', 'longpoll', 'shortpoll'];

let browser;
let line;

before(async () => {
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-dev-shm-usage',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--no-first-run',
    ],
  });
  line = await Line.to(SERVER);
});

after(async () => {
  await browser?.close();
  await line?.close();
  await server?.close();
});

for (const way of WAYS) {
  test(`a message sent by a reader over ${way} is seen with its number`, async (t) => {
    const room = freshRoom('feed');
    const page = await openPage(t);
    await join(page, room, way);

    await send(page, 'hello');
    await shows(page, [1]);
    await publish(room, 'from elsewhere');
    await shows(page, [1, 2]);

    assert.deepEqual(await texts(page), ['hello', 'from elsewhere']);
    assert.deepEqual(await vias(page), [way, way]);
    assert.equal(await page.locator('#check').getAttribute('data-check'), 'whole');
  });
}

test('what was there before joining is shown first', async (t) => {
  const room = freshRoom('feed');
  for (const text of ['one', 'two', 'three']) await publish(room, text);
  const page = await openPage(t);
  await join(page, room, 'websocket');
  await publish(room, 'four');

  await shows(page, [1, 2, 3, 4]);
  assert.deepEqual(await texts(page), ['one', 'two', 'three', 'four']);
});

for (const kind of ['feed', 'live']) {
  test(`a reader of a ${kind} room changes transport under load, misses nothing and sees nothing twice`, async (t) => {
    const room = freshRoom(kind);
    // A memory room lives from its first event on.
    await publish(room, 'first');
    const page = await openPage(t);
    await join(page, room, 'websocket');

    const publisher = publishContinuously(room);
    for (const way of ['sse', 'longpoll', 'shortpoll', 'websocket', 'longpoll', 'sse', 'shortpoll', 'websocket']) {
      await page.check(`[name=via][value=${way}]`);
      await page.locator(`#messages li[data-seq][data-via=${way}]:last-child`).waitFor();
    }
    const last = await publisher.stop();

    await shows(page, numbersTo(last));
    assert.equal(await page.locator('#check').getAttribute('data-check'), 'whole');
  });
}

for (const way of WAYS) {
  test(`a reader over ${way} whose connection is cut goes on where it was`, async (t) => {
    const room = freshRoom('feed');
    const page = await openPage(t);
    await join(page, room, way);
    await publish(room, 'before');
    await shows(page, [1]);

    line.refuse();
    await publish(room, 'meanwhile');
    await page.locator('#state[data-state=waiting]').waitFor();
    await publish(room, 'still away');
    line.restore();

    await page.locator('#state[data-state=live]').waitFor();
    await publish(room, 'after');
    await shows(page, [1, 2, 3, 4]);
    assert.equal(await page.locator('#check').getAttribute('data-check'), 'whole');
  });
}

test('a message whose acknowledgement was lost is sent again and appears once', async (t) => {
  const room = freshRoom('feed');
  const page = await openPage(t);
  await join(page, room, 'websocket');

  line.muffle();
  await send(page, 'once');
  await until(async () => (await read(room)).length === 1, 'the message reached the room');
  line.cut();
  line.restore();

  await page.locator('#waiting:empty').waitFor({ state: 'attached' });
  await send(page, 'twice');
  await shows(page, [1, 2]);
  assert.deepEqual(await texts(page), ['once', 'twice']);
});

test('an event under a name that EventSource does not listen for is asked for separately', async (t) => {
  const room = freshRoom('feed');
  const page = await openPage(t);
  await join(page, room, 'sse');
  await publish(room, 'heard');
  await post(room, { event: 'price', payload: { cents: 1250 } });
  await publish(room, 'heard too');

  await shows(page, [1, 2, 3]);
  assert.equal((await texts(page))[1], 'price: {"cents":1250}');
  assert.match(await page.locator('#check').textContent(), /no gap, no duplicate, 1 to 3; 1 asked for separately/);
});

for (const way of WAYS) {
  test(`a reader over ${way} who was away too long is told of the gap, and the list stays bounded`, async (t) => {
    const room = freshRoom('live');
    await publish(room, 'first');
    const page = await openPage(t);
    await join(page, room, way);

    line.refuse();
    // The log of a memory room holds 1,000 events: 2 to 11 fall out of it.
    for (let count = 0; count < 1010; count += 101) {
      await Promise.all(Array.from({ length: 101 }, () => publish(room, 'more')));
    }
    line.restore();

    // On a busy machine the publishing takes long, and the page's delay grows up to 30 s meanwhile.
    await page.locator('#messages [data-seq="1011"]').waitFor({ timeout: 45_000 });
    assert.equal(await page.locator('#check').getAttribute('data-check'), 'gap');
    assert.equal(await page.locator('#check').textContent(), 'gap: 2 to 11 cannot be replayed');
    assert.deepEqual(await numbers(page), numbersTo(1011).slice(-200));
  });
}

test('an ephemeral room shows its messages and says that there is nothing to resume', async (t) => {
  const room = freshRoom('signal');
  const page = await openPage(t);
  await join(page, room, 'websocket');
  await send(page, 'now or never');

  await until(async () => (await texts(page)).length === 1, 'the message is shown');
  assert.equal(await page.locator('#position').textContent(), 'none: nothing to resume');
  assert.equal(await page.locator('#check').getAttribute('data-check'), 'none');
});

test('what users write is text, never markup', async (t) => {
  const room = freshRoom('feed');
  const page = await openPage(t);
  await join(page, room, 'sse');
  const text = '<img src=x onerror="document.title=1"><b>bold</b>';
  await send(page, text);

  await shows(page, [1]);
  assert.deepEqual(await texts(page), [text]);
  assert.equal(await page.locator('#messages :is(img, b)').count(), 0);
});

test('the measurement fills in numbers for all four transports', async (t) => {
  const page = await openPage(t);
  await page.fill('#measure-messages', '8');
  await page.fill('#measure-rate', '10');
  await page.fill('#measure-interval', '400');
  await page.click('#measure-button');
  await page.locator('#measure-state[data-state=done]').waitFor();

  for (const way of WAYS) {
    const cell = (name) => page.locator(`[data-transport=${way}][data-measure=${name}]`).textContent();
    for (const name of ['p50', 'p95', 'max']) assert.match(await cell(name), /^\d+(\.\d+)? m?s$/, `${way} ${name}`);
    assert.equal(await cell('count'), '8 of 8', way);
    assert.match(await cell('requests'), /^[1-9]/, way);
    for (const name of ['received', 'sent']) assert.match(await cell(name), /[1-9][\d.]* k?B$/, `${way} ${name}`);
    assert.equal(await page.locator(`#chart [data-via=${way}] circle`).count(), 8, way);
  }
});

test('the page fits a screen of 380 pixels', async (t) => {
  const page = await openPage(t, { width: 380, height: 800 });
  const overhang = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  assert.equal(overhang, 0);
});

test('EventSource is told it is connected, hears events, and resumes behind the last one by itself', async (t) => {
  const room = freshRoom('feed');
  const page = await openPage(t);
  await page.evaluate((address) => {
    window.heard = [];
    const source = new EventSource(address);
    const note = ({ type, data, lastEventId }) => window.heard.push({ type, data: JSON.parse(data), lastEventId });
    for (const name of ['connected', 'message', 'gap']) source.addEventListener(name, note);
  }, `/sse?room=${room}&format=envelope`);
  const heard = (type) => page.evaluate((type) => window.heard.filter((event) => event.type === type), type);

  await until(async () => (await heard('connected')).length === 1, 'connected');
  assert.equal(typeof (await heard('connected'))[0].data.clientId, 'string');
  await publish(room, 'one');
  await until(async () => (await heard('message')).length === 1, 'the first message');
  const [first] = await heard('message');
  assert.equal(first.lastEventId, `${first.data.epoch}:1`);

  line.cut();
  await publish(room, 'two');
  await publish(room, 'three');
  await until(async () => (await heard('message')).length === 3, 'the messages sent meanwhile', 15_000);
  assert.deepEqual(
    (await heard('message')).map(({ data }) => data.seq),
    [1, 2, 3],
  );
  assert.deepEqual(await heard('gap'), []);
  const heads = line.heads.filter((head) => head.startsWith(`GET /sse?room=${room}`));
  assert.ok(heads.at(-1).toLowerCase().includes(`last-event-id: ${first.lastEventId}\r\n`.toLowerCase()), heads.at(-1));
});

test('EventSource without an envelope hears the payload under the name of the event', async (t) => {
  const room = freshRoom('feed');
  const page = await openPage(t);
  await page.evaluate((address) => {
    const source = new EventSource(address);
    source.addEventListener('connected', () => (window.connected = true));
    source.addEventListener('price', ({ data }) => (window.price = JSON.parse(data)));
  }, `/sse?room=${room}`);
  await page.waitForFunction(() => window.connected);
  await post(room, { event: 'price', payload: { cents: 1250 } });
  await page.waitForFunction(() => window.price);
  assert.deepEqual(await page.evaluate(() => window.price), { cents: 1250 });
});

test('WebSocket agrees on permessage-deflate and receives a long message compressed', async (t) => {
  const room = freshRoom('feed');
  const page = await openPage(t);
  const extensions = await page.evaluate(
    (room) =>
      new Promise((resolve, reject) => {
        const socket = new WebSocket(`ws://${location.host}/ws`);
        socket.onerror = () => reject(new Error('no connection'));
        socket.onmessage = ({ data }) => {
          const frame = JSON.parse(data);
          if (frame.type === 'welcome') socket.send(JSON.stringify({ type: 'join', room, ref: '1' }));
          if (frame.type === 'reply') resolve(socket.extensions);
          if (frame.type === 'broadcast') window.frame = frame;
        };
      }),
    room,
  );
  assert.match(extensions, /permessage-deflate/);

  const payload = 'the same again. '.repeat(4096);
  const before = line.bytesDown;
  await post(room, { event: 'message', payload });
  await page.waitForFunction(() => window.frame);
  assert.equal(await page.evaluate(() => window.frame.payload), payload);
  const wire = line.bytesDown - before;
  assert.ok(wire < payload.length / 10, `${payload.length} characters took ${wire} bytes`);
});

/** A new page on the line; the test fails when the page has an error or breaks its own content policy. */
async function openPage(t, viewport = { width: 1200, height: 900 }) {
  const context = await browser.newContext({ viewport });
  const page = await context.newPage();
  page.setDefaultTimeout(15_000);
  const faults = [];
  page.on('pageerror', (error) => faults.push(error.message));
  page.on('console', (message) => /Content.Security.Policy/i.test(message.text()) && faults.push(message.text()));
  t.after(async () => {
    line.restore();
    await context.close();
    assert.deepEqual(faults, []);
  });
  await page.goto(line.url);
  return page;
}

async function join(page, room, way) {
  await page.fill('#room', room);
  await page.check(`[name=via][value=${way}]`);
  if (way === 'shortpoll') await page.fill('#interval', '200');
  else await page.evaluate(() => (document.getElementById('interval').value = '200'));
  await page.click('#join-button');
  await page.locator('#state[data-state=live]').waitFor();
}

async function send(page, text) {
  await page.fill('#text', text);
  await page.press('#text', 'Enter');
}

const numbers = (page) =>
  page.locator('#messages [data-seq]').evaluateAll((rows) => rows.map((row) => Number(row.dataset.seq)));
const vias = (page) =>
  page.locator('#messages [data-seq]').evaluateAll((rows) => rows.map((row) => row.dataset.via));
const texts = (page) => page.locator('#messages .text').allTextContents();
const numbersTo = (last) => Array.from({ length: last }, (_, index) => index + 1);

/** Waits for the last of the numbers, then asserts that exactly these are shown, in this order. */
async function shows(page, expected) {
  await page.locator(`#messages [data-seq="${expected.at(-1)}"]`).first().waitFor();
  assert.deepEqual(await numbers(page), expected);
}

const freshRoom = (kind) => `${kind}:page-${Math.random().toString(36).slice(2)}`;
const publish = (room, text) => post(room, { event: 'message', payload: { text } });
const events = (room) => new URL(`/api/rooms/${encodeURIComponent(room)}/events`, SERVER);

async function post(room, draft) {
  const response = await fetch(events(room), {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(draft),
  });
  assert.equal(response.status, 201, await response.clone().text());
  return response.json();
}

async function read(room) {
  return (await (await fetch(events(room))).json()).events;
}

/** Publishes one message after another until stopped; `stop` resolves to the last number. */
function publishContinuously(room) {
  let running = true;
  const work = (async () => {
    for (let count = 1; ; count += 1) {
      const { seq } = await publish(room, `message ${count}`);
      if (!running || count === 180) return seq;
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
  })();
  return {
    stop() {
      running = false;
      return work;
    },
  };
}

async function until(condition, what, patience = 10_000) {
  const deadline = Date.now() + patience;
  while (!(await condition())) {
    assert.ok(Date.now() < deadline, `waited ${patience} ms for: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
