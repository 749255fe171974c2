// Answers both ways, and clients that come back, as Socket.IO's own clients meet them in the example `tour`.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Socket as Engine } from './lib/engine.mjs';
import { WAYS } from './lib/io.mjs';
import { until } from './lib/server.mjs';
import { askAll, heard, opener, serve, server, several, sleep, upTo } from './lib/tour.mjs';

serve();

describe('an ack', () => {
  let open;
  const acks = (name, run) => test(name, async (t) => {
    open = opener(t, '/acks');
    await run(t);
  });

  for (const [way, options] of Object.entries(WAYS)) {
    acks(`goes both ways (${way})`, async () => {
      const one = await open(options);
      assert.equal(await one.ask('double', 21), 42);
      assert.deepEqual(await askAll(one, 'split', 'abc'), [3, 'ABC']);
      one.socket.on('question', (question, tell) => tell(`${question} Yes.`));
      assert.deepEqual(await one.ask('quiz', 'Tea?'), { answer: 'Tea? Yes.' });
    });
  }

  acks('is answered once', async () => {
    const one = await open();
    const answers = [];
    one.socket.emit('race', (answer) => answers.push(answer));
    let packets = 0;
    one.engine.on('packet', ({ type, data }) => { if (type === 'message' && /^3\/acks,/.test(data)) packets += 1; });
    await one.ask('double', 1);
    assert.deepEqual([answers, packets], [['first'], 2]);
    // And of a client that answers twice the first is heard.
    one.socket.on('question', (_, tell) => {
      tell('one');
      tell('two');
    });
    assert.deepEqual(await one.ask('quiz', 'Which?'), { answer: 'one' });
  });

  acks('has a time-out at the client', async () => {
    const one = await open();
    await assert.rejects(one.socket.timeout(100).emitWithAck('never'), { message: 'operation has timed out' });
    await assert.rejects(one.socket.timeout(100).emitWithAck('slow', 300), { message: 'operation has timed out' });
    assert.equal(await one.ask('double', 1), 2, 'the late answer is nobody else\'s');
  });

  acks('has a time-out at the server', async () => {
    const one = await open();
    one.socket.on('question', () => {});
    assert.deepEqual(await one.ask('quiz', 'Tea?'), { error: 'operation has timed out' });
    one.socket.off('question').on('question', (_, tell) => tell(7));
    assert.match((await one.ask('quiz', 'Tea?')).error, /^the answer is not what was asked for/);
    one.socket.off('question').on('question', (_, tell) => tell('yes'));
    assert.deepEqual(await one.ask('quiz', 'Tea?'), { answer: 'yes' });
  });

  acks('says what a handler failed with', async () => {
    const one = await open();
    assert.deepEqual(await one.ask('withdraw', 7), { status: 'ok' });
    assert.deepEqual(await one.ask('withdraw', 101), { status: 'error', message: 'too much', data: { most: 100 } });
    const wrong = await one.ask('withdraw', 'much');
    assert.equal(wrong.status, 'error');
    assert.match(wrong.message, /invalid type: string "much"/);
    one.socket.emit('withdraw', 101);
    assert.deepEqual(await one.event('error'), [{ message: 'too much', data: { most: 100 } }]);
  });

  acks('says that a handler panicked, and nothing else ends', async () => {
    const [one, other] = await several(open, 2);
    const before = [one.id, other.id];
    const answers = await Promise.all([one.ask('panic', []), one.ask('double', 2), other.ask('double', 3), one.ask('panic', [5])]);
    assert.deepEqual(answers, [{ status: 'error', message: 'internal error' }, 4, 6, 5]);
    one.socket.emit('panic', []);
    assert.deepEqual(await one.event('error'), [{ message: 'internal error' }]);
    assert.deepEqual([one.id, other.id], before);
  });

  acks('that a slow handler owes holds back its own client only, and nothing is overtaken', async () => {
    const [slow, other] = await several(open, 2);
    const order = [];
    const asked = ['slow', 'double', 'double'].map((event, at) => slow.ask(event, [400, 2, 3][at]).then((answer) => order.push(answer)));
    for (const n of upTo(20)) assert.equal(await other.ask('double', n), 2 * n);
    assert.deepEqual(order, [], 'others are served meanwhile');
    await Promise.all(asked);
    assert.deepEqual(order, [400, 4, 6]);
  });

  acks('of many events come in their order', async () => {
    for (const options of Object.values(WAYS)) {
      const one = await open(options);
      const order = [];
      await Promise.all(upTo(300).map((n) => one.ask('double', n).then((answer) => order.push(answer / 2))));
      assert.deepEqual(order, upTo(300));
    }
  });

  for (const waits of [false, true]) {
    acks(`of many large ones come as the client takes them (${waits ? 'handlers that wait' : 'handlers that do not'})`, async () => {
      const one = await open({ perMessageDeflate: false });
      one.engine.transport.ws.pause();
      const order = [];
      const pages = upTo(200).map(async (n) => {
        const [number, page] = await askAll(one, 'page', n, waits);
        assert.equal(page.length, 100_000);
        order.push(number);
      });
      await sleep(300);
      one.engine.transport.ws.resume();
      await Promise.all(pages);
      assert.deepEqual([order, one.reasons], [upTo(200), []]);
    });
  }

  acks('of a broadcast is each client\'s, and who is missing', async () => {
    const [asker, quiet, wrong, gone] = await several(open, 4);
    const absent = [quiet.id, gone.id].toSorted();
    asker.socket.on('vote', (what, tell) => tell(what === 'tea?' ? 1 : 0));
    wrong.socket.on('vote', (_, tell) => tell('much'));
    gone.socket.on('vote', () => gone.close());
    const survey = await asker.ask('survey', 500);
    assert.deepEqual(survey, {
      complete: false,
      votes: [[asker.id, 1]],
      missing: survey.missing,
      invalid: [wrong.id],
    });
    assert.deepEqual(survey.missing.toSorted(), absent);
    quiet.close();
    wrong.socket.off('vote').on('vote', (_, tell) => tell(2));
    await until(async () => {
      const { complete, votes } = await asker.ask('survey', 5000);
      return complete && votes.length === 2;
    }, 'a whole answer');
  });

  acks('is awaited of one client so many times at once', async () => {
    const one = await open();
    one.socket.on('number?', (number, tell) => tell(number));
    assert.deepEqual(await one.ask('interrogate', 256), { sum: 255 * 128, failed: [] });
    const { sum, failed } = await one.ask('interrogate', 258);
    assert.equal(sum, 255 * 128);
    assert.deepEqual(failed, ['256 answers of one client are awaited already', '256 answers of one client are awaited already']);
  });

  acks('comes though the client has said much before it', async () => {
    const one = await open();
    one.socket.on('question', (_, tell) => tell('yes'));
    const answers = [one.ask('quiz', 'Still?'), ...upTo(600).map((n) => one.ask('double', n))];
    assert.deepEqual(await Promise.all(answers), [{ answer: 'yes' }, ...upTo(600).map((n) => 2 * n)]);
  });
});

describe('a client that was cut off', () => {
  const back = { reconnection: true, reconnectionDelay: 20, reconnectionDelayMax: 50 };
  /** Somebody else, who says things in the meantime. */
  const scene = async (t, namespace = '/news') => {
    const open = opener(t, namespace);
    const room = `room ${t.name}`;
    const [reader, writer] = [await open(back), await open()];
    await reader.ask('join', room);
    await reader.ask('remember', { name: 'ada' });
    const publish = (text) => writer.ask('publish', room, text);
    const cut = async () => {
      const ended = reader.disconnected();
      reader.engine.close();
      await ended;
      await until(() => writer.inbox.items.some(({ event, args }) => event === 'left' && args[0] === reader.lastId), 'the server to notice');
    };
    reader.lastId = reader.id;
    const news = async (count) => (await reader.events('news', count)).map(([text]) => text);
    return { room, reader, writer, publish, cut, news, manager: reader.socket.io };
  };

  for (const [name, first] of [['that has received events', [0]], ['that never received one', []]]) {
    test(`${name} gets what it missed, in order and once`, async (t) => {
      const { reader, publish, cut, news, manager } = await scene(t);
      for (const text of first) await publish(text);
      assert.deepEqual(await news(first.length), first);
      manager.reconnection(false);
      await cut();
      for (const text of upTo(50)) await publish(text);
      reader.socket.connect();
      await until(() => reader.socket.connected, 'the client to come back');
      assert.equal(reader.socket.recovered, true);
      assert.equal(reader.id, reader.lastId);
      await publish('live');
      assert.deepEqual(await news(51), [...upTo(50), 'live']);
      const { recovered, rooms, value } = await reader.ask('state');
      assert.deepEqual({ recovered, rooms, value }, { recovered: true, rooms: [reader.id, `room ${t.name}`], value: { name: 'ada' } });
      assert.ok(!reader.inbox.items.some(({ event }) => event === 'news'));
    });
  }

  test('comes back by itself, again and again', async (t) => {
    const { reader, publish, news } = await scene(t);
    const expected = [];
    for (const round of upTo(5)) {
      reader.engine.close();
      for (const n of upTo(5)) {
        await publish(round * 10 + n);
        expected.push(round * 10 + n);
      }
      await until(() => reader.socket.connected, 'the client to come back');
      assert.equal(reader.socket.recovered, true, `round ${round}`);
    }
    assert.deepEqual(await news(expected.length), expected);
    assert.ok(!reader.inbox.items.some(({ event }) => event === 'news'));
  });

  test('misses volatile events, and nothing because of them', async (t) => {
    const { reader, writer, publish, cut, news, manager } = await scene(t);
    await publish('kept');
    await writer.ask('glance', 'seen');
    await reader.event('glance');
    manager.reconnection(false);
    await cut();
    await publish('missed');
    await writer.ask('glance', 'unseen');
    reader.socket.connect();
    await until(() => reader.socket.connected, 'the client to come back');
    assert.equal(reader.socket.recovered, true);
    assert.deepEqual(await news(2), ['kept', 'missed']);
    await reader.ask('state');
    assert.ok(!reader.inbox.items.some(({ event }) => event === 'glance'));
  });

  test('has one session: who claims it has it, and who had it is ended', async (t) => {
    const { writer, publish, room } = await scene(t);
    const socket = await Engine.open(server);
    socket.send('40/news,');
    const { sid, pid } = JSON.parse((await socket.hear()).slice('40/news,'.length));
    socket.send(`42/news,1["join",${JSON.stringify(room)}]`);
    assert.equal(await socket.hear(), '43/news,1[]');
    await publish('one');
    const [, , offset] = JSON.parse((await socket.hear()).slice('42/news,'.length));
    const before = await writer.ask('count');
    const claim = async () => {
      const other = await Engine.open(server);
      other.send(`40/news,${JSON.stringify({ pid, offset })}`);
      return other;
    };
    // The connection is dead, and the server does not know yet: its client comes with another one.
    const second = await claim();
    assert.equal(await second.hear(), `40/news,${JSON.stringify({ sid, pid })}`);
    await socket.end();
    assert.equal(await writer.ask('count'), before, 'no zombie');
    await publish('two');
    for (let packet = ''; !packet.includes('"two"'); packet = await second.hear()) assert.ok(packet === '' || packet.includes('"left"'), packet);
    // It says that it goes: nobody comes back to that.
    second.send('41/news,');
    await until(async () => await writer.ask('count') === before - 1, 'the socket to go');
    const third = await claim();
    const anew = JSON.parse((await third.hear()).slice('40/news,'.length));
    assert.ok(anew.sid !== sid && anew.pid !== pid);
    third.send('42/news,1["state"]');
    assert.equal(JSON.parse((await third.hear()).slice('43/news,1'.length))[0].recovered, false);
    await Promise.all([second.close(), third.close()]);
  });

  test('too long begins anew, and that is told', async (t) => {
    const { reader, writer, cut, manager, room } = await scene(t, '/brief');
    manager.reconnection(false);
    await cut();
    assert.deepEqual((await writer.event('expired')).slice(0, 2), [reader.lastId, [room]]);
    reader.socket.connect();
    await until(() => reader.socket.connected, 'the client to come back');
    assert.equal(reader.socket.recovered, false);
    assert.notEqual(reader.id, reader.lastId);
    assert.deepEqual((await reader.ask('state')).rooms, [reader.id]);
  });
});
