// The chat at `/chat`: two people in two browsers that know nothing of each other, against a running server. CHROMIUM names
// the browser.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { chromium } from 'playwright-core';
import { Server, until } from '../lib/server.mjs';
import { Line } from './line.mjs';

const PRESENCE_LEAVE_MS = 300;

let server;
let browser;
let line;
const tokens = {};

before(async () => {
  server = await Server.start({ config: `[chat]\npresence_leave_ms = ${PRESENCE_LEAVE_MS}\n` });
  for (const [user, name] of [['alice', 'Alice'], ['bob', 'Bob'], ['carol', 'Carol']]) {
    tokens[user] = await server.token(user, '--name', name);
  }
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
  line = await Line.to(new URL(server.http));
});

after(async () => {
  await browser?.close();
  await line?.close();
  await server?.close();
});

test('the start page leads to the chat', async (t) => {
  const page = await openPage(t, null, { path: '/' });
  await page.getByRole('navigation').getByRole('link', { name: 'Chat' }).click();
  await page.locator('#connection[data-state=live]').waitFor();
  assert.equal(new URL(page.url()).pathname, '/chat');
});

test('a token signs in, does not stay in the address, and is forgotten by signing out', async (t) => {
  const page = await enter(t, 'alice');
  assert.equal(page.url(), `${server.http}/chat`);
  await page.reload();
  await page.locator('#me[data-user=alice]').waitFor();
  assert.match(await page.locator('#me').textContent(), /Alice/);

  await page.click('#me');
  await page.getByRole('menuitem', { name: 'Sign out' }).click();
  await page.locator('#me[data-user=""]').waitFor();
  await page.click('#me');
  await page.fill('#token', tokens.bob);
  await page.getByRole('button', { name: 'Sign in', exact: true }).click();
  await page.locator('#me[data-user=bob]').waitFor();
});

test('a token that is not accepted is said to be so, and another one may be given', async (t) => {
  const page = await openPage(t, 'not.a.token');
  await page.locator('#connection[data-state=refused]').waitFor();
  await page.locator('#sign-in-why', { hasText: 'Invalid authentication token' }).waitFor();
});

test('a room that one makes is found and joined by the other, and messages go both ways', async (t) => {
  const room = freshRoom();
  const alice = await enter(t, 'alice');
  await alice.click('#new');
  await alice.fill('#find-room', room);
  await alice.click('#find-make');
  await alice.locator(`#conversation[data-room="${room}"]`).waitFor();
  await write(alice, 'is anybody here?');
  await shows(alice, ['is anybody here?']);

  const bob = await enter(t, 'bob');
  await bob.click('#new');
  await bob.fill('#find-room', room);
  await bob.locator(`[data-find="${room}"]`).click();
  await shows(bob, ['is anybody here?']);
  await write(bob, 'I am');
  await shows(alice, ['is anybody here?', 'I am']);
  await write(alice, 'good');
  await shows(bob, ['is anybody here?', 'I am', 'good']);
  await alice.locator('li.note', { hasText: 'Bob joined' }).waitFor();
});

test('typing is seen, and ends when it stops', async (t) => {
  const { alice, bob } = await pair(t);
  await bob.locator('#writing textarea').pressSequentially('hel');
  await alice.locator('#typing', { hasText: 'Bob is typing' }).waitFor();
  await alice.locator('#typing').waitFor({ state: 'hidden' });

  await bob.locator('#writing textarea').pressSequentially('lo');
  await alice.locator('#typing', { hasText: 'Bob is typing' }).waitFor();
  await bob.press('#writing textarea', 'Enter');
  await shows(alice, ['hello']);
  assert.equal(await alice.locator('#typing').isHidden(), true);
});

test('what is not looked at is counted, and a mention is told; reading it ends both, and is seen by who wrote it', async (t) => {
  const room = await roomOf('alice', 'bob');
  const alice = await enter(t, 'alice', room);
  const bob = await enter(t, 'bob');
  await write(alice, 'one');
  await write(alice, 'two');
  await badge(bob, room, { unread: '2', mentions: '0' });

  await alice.locator('#writing textarea').pressSequentially('@bo');
  await alice.locator('.proposed [role=option]', { hasText: 'Bob' }).waitFor();
  await alice.press('#writing textarea', 'Enter');
  await alice.locator('#writing textarea').pressSequentially('look');
  await alice.press('#writing textarea', 'Enter');
  await shows(alice, ['one', 'two', '@Bob look']);
  await badge(bob, room, { unread: '3', mentions: '1' });
  assert.match(await bob.title(), /^\(\d+\)/);
  assert.equal(await alice.locator('[data-readers~=bob]').count(), 0);

  await bob.locator(`[data-room="${room}"]`).click();
  await bob.locator('li.new').waitFor();
  await badge(bob, room, { unread: '0', mentions: '0' });
  await bob.locator('mark.mention.me', { hasText: '@Bob' }).waitFor();
  await alice.locator('li.message[data-sequence="3"] [data-readers~=bob]').waitFor();
});

test('a message that nobody sees is not read, however long it is there', async (t) => {
  const room = await roomOf('alice', 'bob');
  for (let count = 1; count <= 60; count += 1) await send('bob', room, { content: `line ${count}` });
  const alice = await enter(t, 'alice', room);
  // What is new begins in sight; what is below it is not.
  await alice.locator('li.message[data-sequence="1"]').waitFor();
  await alice.locator('#to-end').waitFor();
  await until(async () => (await roomAs(room, 'alice')).read > 0, 'the first ones to be read');
  const { read } = await roomAs(room, 'alice');
  assert.ok(read < 60, `${read} of 60 are read`);

  await alice.click('#to-end');
  await until(async () => (await roomAs(room, 'alice')).read === 60, 'the last one to be read');
  await badge(alice, room, { unread: '0', mentions: '0' });
});

test('a message that was read can be wanted unread, until its room is opened again', async (t) => {
  const room = await roomOf('alice', 'bob');
  const other = await roomOf('alice');
  for (const content of ['one', 'two', 'three']) await send('bob', room, { content });
  const alice = await enter(t, 'alice', room);
  await badge(alice, room, { unread: '0', mentions: '0' });
  await tool(alice, 2, 'More');
  await alice.getByRole('menuitem', { name: 'Mark unread from here' }).click();
  await badge(alice, room, { unread: '2', mentions: '0' });
  await send('bob', room, { content: 'four' });
  await badge(alice, room, { unread: '3', mentions: '0' });

  await alice.locator(`#rooms-list [data-room="${other}"]`).click();
  await alice.locator(`#rooms-list [data-room="${room}"]`).click();
  await alice.locator('li.new + li.message[data-sequence="2"]').waitFor();
  await badge(alice, room, { unread: '0', mentions: '0' });
  assert.equal((await roomAs(room, 'alice')).unread, 0);
});

test('a message is edited, and taken back', async (t) => {
  const { alice, bob } = await pair(t);
  await write(alice, 'helo');
  await write(alice, 'and goodbye');
  await shows(bob, ['helo', 'and goodbye']);

  await tool(alice, 1, 'More');
  await alice.getByRole('menuitem', { name: 'Edit' }).click();
  assert.equal(await alice.inputValue('#writing textarea'), 'helo');
  await alice.fill('#writing textarea', 'hello');
  await alice.press('#writing textarea', 'Enter');
  await bob.locator('li.message[data-sequence="1"] .edited').waitFor();
  await shows(bob, ['hello edited', 'and goodbye']);

  await tool(alice, 2, 'More');
  await alice.getByRole('menuitem', { name: 'Delete' }).click();
  await alice.getByRole('menuitem', { name: 'Delete: sure?' }).click();
  await shows(bob, ['hello edited', 'This message was deleted.']);
  await shows(alice, ['hello edited', 'This message was deleted.']);
});

test('a reaction is given, counted, joined and taken back', async (t) => {
  const { alice, bob } = await pair(t);
  await write(alice, 'done');
  await shows(bob, ['done']);
  await tool(bob, 1, 'React');
  await bob.getByRole('menuitem', { name: '🎉' }).click();
  const reaction = (page) => page.locator('[data-emoji="🎉"]');
  await reaction(alice).filter({ hasText: '1' }).waitFor();
  assert.equal(await reaction(alice).getAttribute('aria-pressed'), 'false');

  await reaction(alice).click();
  await reaction(bob).filter({ hasText: '2' }).waitFor();
  await reaction(bob).click();
  await reaction(alice).filter({ hasText: '1' }).waitFor();
  assert.equal(await reaction(alice).getAttribute('aria-pressed'), 'true');
  await reaction(alice).click();
  await reaction(bob).waitFor({ state: 'detached' });
});

test('an answer quotes what it answers, and a thread is beside the room', async (t) => {
  const { alice, bob } = await pair(t);
  await write(alice, 'which one?');
  await shows(bob, ['which one?']);
  await tool(bob, 1, 'Reply');
  await bob.fill('#writing textarea', 'the second');
  await bob.press('#writing textarea', 'Enter');
  await alice.locator('li.message[data-sequence="2"] .quote', { hasText: 'which one?' }).waitFor();

  await tool(bob, 1, 'Answer in a thread');
  await bob.locator('#thread li.message', { hasText: 'which one?' }).waitFor();
  await bob.fill('#thread-writing textarea', 'in detail');
  await bob.press('#thread-writing textarea', 'Enter');
  await bob.locator('#thread li.message', { hasText: 'in detail' }).waitFor();

  await alice.locator('li.message[data-sequence="1"] .thread-link', { hasText: '1 answer' }).click();
  await alice.locator('#thread li.message', { hasText: 'in detail' }).waitFor();
  await alice.fill('#thread-writing textarea', 'I see');
  await alice.press('#thread-writing textarea', 'Enter');
  await bob.locator('#thread li.message', { hasText: 'I see' }).waitFor();
  await bob.locator('li.message[data-sequence="1"] .thread-link', { hasText: '2 answers' }).waitFor();
});

test('a server that is killed loses nothing and repeats nothing, and what was written meanwhile arrives once', async (t) => {
  const { alice, bob, room } = await pair(t);
  await write(alice, 'before');
  await shows(bob, ['before']);

  await server.kill();
  await alice.locator('#connection[data-state=waiting]').waitFor();
  await write(alice, 'meanwhile');
  await alice.locator('li.draft[data-state=sending]', { hasText: 'meanwhile' }).waitFor();
  await server.crash();

  await live(alice);
  await live(bob);
  await write(bob, 'after');
  for (const page of [alice, bob]) {
    await page.locator('li.message', { hasText: 'after' }).waitFor();
    await page.locator('li.message', { hasText: 'meanwhile' }).waitFor();
    const said = await texts(page);
    assert.deepEqual(said.toSorted(), ['after', 'before', 'meanwhile']);
    assert.equal(said[0], 'before');
  }
  const { messages } = await ask('alice', `/api/chat/rooms/${room}/messages`);
  assert.deepEqual(messages.map(({ content }) => content), await texts(alice));
});

test('what happened while the line was cut is there afterwards, in order and once', async (t) => {
  const room = await roomOf('alice', 'bob');
  await send('bob', room, { content: 'one' });
  const alice = await enter(t, 'alice', room, { base: line.url });
  await shows(alice, ['one']);

  line.refuse();
  await alice.locator('#connection[data-state=waiting]').waitFor();
  for (const content of ['two', 'three']) await send('bob', room, { content });
  const [first] = (await ask('bob', `/api/chat/rooms/${room}/messages`)).messages;
  await ask('bob', `/api/chat/rooms/${room}/messages/${first.id}`, 'PATCH', { content: 'One' });
  line.restore();

  await live(alice);
  await shows(alice, ['One edited', 'two', 'three']);
  await send('bob', room, { content: 'four' });
  await shows(alice, ['One edited', 'two', 'three', 'four']);
});

test('who was away for more than can be replayed sees the newest page, and the earlier ones by scrolling', async (t) => {
  const room = await roomOf('alice', 'bob');
  await send('bob', room, { content: 'line 1' });
  const alice = await enter(t, 'alice', room, { base: line.url });
  await shows(alice, ['line 1']);

  line.refuse();
  for (let count = 2; count <= 120; count += 1) await send('bob', room, { content: `line ${count}` });
  line.restore();

  await live(alice);
  await alice.locator('li.message[data-sequence="120"]').waitFor();
  const shown = () => alice.locator('#timeline-list li.message').evaluateAll((rows) => rows.map((row) => Number(row.dataset.sequence)));
  // Without a hole, wherever it begins.
  const contiguous = (numbers) => numbers.every((number, at) => number === numbers[0] + at);
  assert.ok(contiguous(await shown()));
  await until(async () => {
    await alice.evaluate(() => (document.getElementById('timeline').scrollTop = 0));
    return (await shown())[0] === 1;
  }, 'the first message');
  assert.ok(contiguous(await shown()));
  assert.equal((await shown()).at(-1), 120);
});

test('a message whose answer was lost is sent again and appears once', async (t) => {
  const room = await roomOf('alice', 'bob');
  const alice = await enter(t, 'alice', room, { base: line.url });
  const bob = await enter(t, 'bob', room);
  line.muffle();
  await write(alice, 'once');
  await shows(bob, ['once']);
  await alice.locator('li.draft[data-state=sending]').waitFor();
  line.cut();
  line.restore();

  await alice.locator('li.draft').waitFor({ state: 'detached' });
  await write(alice, 'twice');
  await shows(alice, ['once', 'twice']);
  await shows(bob, ['once', 'twice']);
});

test('a message that is refused stays, says why, and can be tried again', async (t) => {
  const room = await roomOf('alice', 'bob');
  const alice = await enter(t, 'alice', room);
  await write(alice, 'a'.repeat(20_000));
  await alice.locator('li.draft[data-state=failed] .failure').waitFor();
  await alice.getByRole('button', { name: 'Try again' }).click();
  await alice.locator('li.draft[data-state=failed]').waitFor();
  await alice.getByRole('button', { name: 'Discard' }).click();
  await alice.locator('li.draft').waitFor({ state: 'detached' });
});

test('who closes the page is seen to be offline, and online again', async (t) => {
  const { alice, bob } = await pair(t);
  await alice.click('#people');
  await alice.locator('#people-list [data-user=bob][data-status=online]').waitFor();
  const token = tokens.bob;
  await bob.context().close();
  await alice.locator('#people-list [data-user=bob][data-status=offline]').waitFor();
  await openPage(t, token);
  await alice.locator('#people-list [data-user=bob][data-status=online]').waitFor();
});

test('who does not look for five minutes is away, until they look again', async (t) => {
  const room = await roomOf('alice', 'bob');
  const alice = await enter(t, 'alice', room);
  const bob = await openPage(t, tokens.bob, { prepare: (page) => page.clock.install() });
  await live(bob);
  await alice.click('#people');
  await alice.locator('#people-list [data-user=bob][data-status=online]').waitFor();
  const look = (hidden) =>
    bob.evaluate((hidden) => {
      Object.defineProperty(document, 'hidden', { configurable: true, get: () => hidden });
      document.dispatchEvent(new Event('visibilitychange'));
    }, hidden);
  await look(true);
  await bob.clock.fastForward('05:01');
  await alice.locator('#people-list [data-user=bob][data-status=idle]').waitFor();
  await look(false);
  await alice.locator('#people-list [data-user=bob][data-status=online]').waitFor();
});

test('who is removed is out, may come back to a public room, and not when banned', async (t) => {
  const { alice, bob, room } = await pair(t);
  await alice.click('#people');
  await moderate(alice, 'bob', 'Remove');
  await bob.locator('#bar', { hasText: 'You were removed from this room.' }).waitFor();
  await write(alice, 'without Bob');
  await shows(alice, ['without Bob']);
  await bob.locator(`#rooms-list [data-room="${room}"]`).waitFor({ state: 'detached' });
  assert.deepEqual(await texts(bob), []);

  await bob.locator('#bar').getByRole('button', { name: 'Join' }).click();
  await bob.locator('#writing textarea').waitFor();
  await write(bob, 'here again');
  await alice.locator('li.message', { hasText: 'here again' }).waitFor();

  await moderate(alice, 'bob', 'Ban');
  await bob.locator('#bar', { hasText: 'You are banned from this room.' }).waitFor();
});

test('who is muted cannot write, and is told until when', async (t) => {
  const { alice, bob } = await pair(t);
  await alice.click('#people');
  await alice.locator('#people-list [data-user=bob] button').click();
  await alice.getByRole('menuitem', { name: 'Mute for 10 minutes' }).click();
  await bob.locator('#bar', { hasText: /You are muted until \d\d:\d\d\./ }).waitFor();
  await alice.locator('#people-list [data-user=bob] button').click();
  await alice.getByRole('menuitem', { name: 'Let speak again' }).click();
  await bob.locator('#writing textarea').waitFor();
});

test('one person writes to another directly', async (t) => {
  const alice = await enter(t, 'alice');
  const carol = await enter(t, 'carol');
  await alice.click('#new');
  await alice.fill('#write-user', 'carol');
  await alice.getByRole('button', { name: 'Write' }).click();
  await alice.locator('#writing textarea').waitFor();
  await write(alice, 'between us');
  const row = carol.locator('#rooms-list a', { hasText: 'Alice' });
  await row.filter({ hasText: 'between us' }).waitFor();
  await row.click();
  await shows(carol, ['between us']);
});

test('a room can be left', async (t) => {
  const room = await roomOf('alice', 'bob');
  const bob = await enter(t, 'bob', room);
  await bob.click('#people');
  await bob.click('#leave');
  await bob.getByRole('menuitem', { name: 'Leave this room' }).click();
  await bob.getByRole('menuitem', { name: 'sure?' }).click();
  await bob.locator(`#rooms-list [data-room="${room}"]`).waitFor({ state: 'detached' });
  await bob.locator('#nothing').waitFor();
});

test('who looks into public rooms is told that they are not in, and joins the one that is open', async (t) => {
  const [one, other] = [await roomOf('alice'), await roomOf('alice')];
  await send('alice', other, { content: 'come in' });
  const bob = await enter(t, 'bob');
  for (const room of [one, other]) {
    await bob.evaluate((room) => (location.hash = room), room);
    await bob.locator(`#conversation[data-room="${room}"] #bar`, { hasText: 'You read this room, and are not in it.' }).waitFor();
  }
  await shows(bob, ['come in']);
  await send('alice', other, { content: 'the door is open' });
  await shows(bob, ['come in', 'the door is open']);
  await bob.locator('#bar').getByRole('button', { name: 'Join' }).click();
  await bob.locator(`#rooms-list [data-room="${other}"]`).waitFor();
  await write(bob, 'thanks');
  await shows(bob, ['come in', 'the door is open', 'thanks']);
  assert.equal(await bob.locator(`#rooms-list [data-room="${one}"]`).count(), 0);
});

test('a guest reads a public room and writes to it', async (t) => {
  const room = await roomOf('alice');
  await send('alice', room, { content: 'welcome' });
  const alice = await enter(t, 'alice', room);
  const guest = await openPage(t, null);
  await guest.locator(`#rooms-list [data-room="${room}"]`).click();
  await shows(guest, ['welcome']);
  await write(guest, 'thank you');
  await shows(alice, ['welcome', 'thank you']);
  await shows(guest, ['welcome', 'thank you']);
});

test('what users write is text, never markup, and images come from https or from here only', async (t) => {
  const room = await roomOf('alice', 'bob');
  const text = '<img src=x onerror="document.title=1"><b>bold</b> https://example.com/?a=1 javascript:alert(1)';
  await send('bob', room, { content: text });
  await send('bob', room, { content: '', type: 'IMAGE', data: { url: '/app/icon.svg' } });
  await send('bob', room, { content: 'http://elsewhere.example/cat.png', type: 'IMAGE' });
  await send('bob', room, { content: 'a drawing', type: 'IMAGE', data: { url: 'data:image/svg+xml,<svg/>' } });
  const alice = await enter(t, 'alice', room);
  await alice.locator('li.message[data-sequence="4"]').waitFor();
  assert.equal(await alice.locator('li.message[data-sequence="1"] .text').textContent(), text);
  assert.equal(await alice.locator('li.message b:not(.byline b)').count(), 0);
  const sources = await alice.locator('li.message img').evaluateAll((images) => images.map((image) => image.src));
  assert.deepEqual(sources, [`${server.http}/app/icon.svg`]);
  const links = await alice.locator('li.message .text a').evaluateAll((all) => all.map(({ href, rel }) => [href, rel]));
  assert.deepEqual(links, [
    ['https://example.com/?a=1', 'noopener noreferrer'],
    ['http://elsewhere.example/cat.png', 'noopener noreferrer'],
  ]);
});

test('the chat is used by keyboard alone', async (t) => {
  const room = await roomOf('alice', 'bob');
  await send('bob', room, { content: 'first' });
  await send('bob', room, { content: 'second' });
  const alice = await enter(t, 'alice', room);
  await shows(alice, ['first', 'second']);
  await alice.focus('#timeline');
  await alice.keyboard.press('ArrowUp');
  await alice.keyboard.press('ArrowUp');
  await alice.locator('li.message[data-sequence="1"]:focus').waitFor();
  await alice.keyboard.press('Tab');
  await alice.locator('li.message[data-sequence="1"] button[aria-label=React]:focus').waitFor();
  await alice.keyboard.press('Enter');
  await alice.keyboard.press('Enter');
  await alice.locator('li.message[data-sequence="1"] [data-emoji="👍"]').waitFor();
});

test('the chat fits a screen of 360 pixels, and leads from the rooms to one and back', async (t) => {
  const room = await roomOf('alice', 'bob');
  await send('bob', room, { content: 'word'.repeat(100) });
  const alice = await enter(t, 'alice', undefined, { base: line.url, viewport: { width: 360, height: 740 } });
  const overhang = () => alice.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  assert.equal(await overhang(), 0);
  await alice.locator(`[data-room="${room}"]`).click();
  await alice.locator('li.message').waitFor();
  assert.equal(await overhang(), 0);
  assert.equal(await alice.locator('#rooms-list').isVisible(), false);
  await alice.click('#people');
  await alice.locator('#people-list [data-user=bob]').waitFor();
  assert.equal(await overhang(), 0);
  await alice.locator('#people-panel [data-close=beside]').click();
  line.refuse();
  await alice.locator('#connection[data-state=waiting]').waitFor();
  assert.equal(await overhang(), 0);
  line.restore();
  await live(alice);
  await alice.click('#back');
  await alice.locator('#rooms-list').waitFor();
});

/** A page of the chat, with a token or as a guest; the test fails when it has an error or breaks its content policy. */
async function openPage(t, token, { path = '/chat', base = server.http, viewport, prepare } = {}) {
  const context = await browser.newContext({ viewport: viewport ?? { width: 1200, height: 800 } });
  const page = await context.newPage();
  await prepare?.(page);
  page.setDefaultTimeout(15_000);
  const faults = [];
  page.on('pageerror', (error) => faults.push(error.stack));
  page.on('console', (message) => /Content.Security.Policy/i.test(message.text()) && faults.push(message.text()));
  t.after(async () => {
    line.restore();
    await context.close();
    assert.deepEqual(faults, []);
  });
  await page.goto(new URL(token ? `${path}?token=${token}` : path, base).href);
  return page;
}

/** A user's page, in a room if one is named. */
async function enter(t, user, room, { base, viewport } = {}) {
  const page = await openPage(t, tokens[user], { base, viewport });
  await page.locator(`#me[data-user=${user}]`).waitFor();
  await live(page);
  if (room) {
    await page.locator(`#rooms-list [data-room="${room}"]`).click();
    await page.locator(`#conversation[data-room="${room}"] #timeline[aria-busy=false]`).waitFor();
  }
  return page;
}

/** Alice and Bob in a room of their own. */
async function pair(t) {
  const room = await roomOf('alice', 'bob');
  return { room, alice: await enter(t, 'alice', room), bob: await enter(t, 'bob', room) };
}

const live = (page) => page.locator('#connection[data-state=live]').waitFor({ state: 'attached', timeout: 40_000 });
const texts = (page) => page.locator('#timeline-list li.message .text').allTextContents();

async function write(page, text) {
  await page.fill('#writing textarea', text);
  await page.press('#writing textarea', 'Enter');
}

/** Waits until exactly these messages are shown, in this order, and none is on its way. */
async function shows(page, expected) {
  let said;
  const same = async () => {
    said = await texts(page);
    return JSON.stringify(said) === JSON.stringify(expected);
  };
  await until(same, `${JSON.stringify(expected)} to be shown`, 15_000).catch((error) => {
    throw new Error(`${error.message}, but it was ${JSON.stringify(said)}`);
  });
}

async function badge(page, room, { unread, mentions }) {
  await page.locator(`#rooms-list [data-room="${room}"][data-unread="${unread}"][data-mentions="${mentions}"]`).waitFor();
}

/** Presses what stands beside a message. */
async function tool(page, sequence, name) {
  const row = page.locator(`#timeline-list li.message[data-sequence="${sequence}"]`);
  await row.hover();
  await row.getByRole('button', { name, exact: true }).click();
}

async function moderate(page, user, label) {
  await page.locator(`#people-list [data-user=${user}] button`).click();
  await page.getByRole('menuitem', { name: label, exact: true }).click();
  await page.getByRole('menuitem', { name: `${label}: sure?` }).click();
}

const freshRoom = () => `room-${Math.random().toString(36).slice(2)}`;

/** A public room that its first user has made and the others have joined. */
async function roomOf(owner, ...others) {
  const room = freshRoom();
  await ask(owner, '/api/chat/rooms', 'POST', { room });
  for (const user of others) await ask(user, `/api/chat/rooms/${room}/join`, 'POST');
  return room;
}

const send = (user, room, message) => ask(user, `/api/chat/rooms/${room}/messages`, 'POST', message);
const roomAs = (room, user) => ask(user, `/api/chat/rooms/${room}`);

async function ask(user, path, method = 'GET', body = undefined) {
  const response = await fetch(`${server.http}${path}`, {
    method,
    headers: { authorization: `Bearer ${tokens[user]}`, ...(body && { 'content-type': 'application/json' }) },
    body: body && JSON.stringify(body),
  });
  const answer = await response.text();
  assert.ok(response.ok, `${method} ${path}: ${response.status} ${answer}`);
  return JSON.parse(answer);
}
