// What must be true of a run, judged from what its publishers and readers saw. Pure: it knows no server.
//
// A history is
//   {
//     rooms: { [name]: { keep: 'store' | 'memory', lost, epoch, head, log: [{ seq, content }] } },
//     publishes: [{ room, content, sent, acked, seq, epoch }],
//     readers: [{ name, room, steps: [{ kind: 'start', epoch, seq }
//                                   | { kind: 'message', epoch, seq, content }
//                                   | { kind: 'gap', epoch, from, to }] }],
//   }
// `log` is what the room holds in the end; a memory room holds the newest only, and may, if `lost` is true, have lost all
// and begun anew, in another epoch. Contents are unique texts. `sent` and
// `acked` are moments of one counter; `acked` is undefined when the publisher never heard. A sequence number is the
// order that the server claims, so nothing has to be searched: each claim is looked up (reference/reliability.md §4.3).

/** Everything that is wrong with a history, as `property: sentence`; empty when it holds. */
export function check(history) {
  const objections = [];
  const object = (property, sentence) => objections.push(`${property}: ${sentence}`);
  for (const [name, room] of Object.entries(history.rooms)) {
    const publishes = history.publishes.filter((publish) => publish.room === name);
    const readers = history.readers.filter((reader) => reader.room === name);
    checkLog(name, room, object);
    const order = agree(name, room, publishes, readers, object);
    checkPublishes(name, room, publishes, order, object);
    for (const epoch of new Set(publishes.map((publish) => publish.epoch))) {
      checkRealTime(name, publishes.filter((publish) => publish.epoch === epoch), object);
    }
    for (const reader of readers) checkReader(room, reader, object);
  }
  return objections;
}

/** The log that is left has no holes, no repetition, and ends at the head. */
function checkLog(name, room, object) {
  const contents = new Set();
  let last;
  for (const { seq, content } of room.log) {
    if (last !== undefined && seq !== last + 1) object('dense', `${name}: ${seq} follows ${last} in the log`);
    if (contents.has(content)) object('once', `${name}: ${content} is twice in the log, again at ${seq}`);
    contents.add(content);
    last = seq;
  }
  const first = room.log[0]?.seq;
  if (room.keep === 'store' && first !== undefined && first !== 1) object('dense', `${name}: the stored log begins at ${first}`);
  if ((last ?? room.head) !== room.head) object('dense', `${name}: the log ends at ${last}, the head is ${room.head}`);
  if (room.keep === 'store' && room.log.length !== room.head) object('dense', `${name}: ${room.log.length} messages and the head ${room.head}`);
}

/** Everyone means the same message by a number: returns what is at each. */
function agree(name, room, publishes, readers, object) {
  const order = new Map();
  const place = (epoch, seq, content, who) => {
    const at = epoch === room.epoch ? String(seq) : `${epoch}:${seq}`;
    const known = order.get(at);
    if (known === undefined) order.set(at, { epoch, seq, content, who });
    else if (known.content !== content) object('same', `${name}: at ${at} ${known.who} has ${known.content}, ${who} has ${content}`);
  };
  for (const { seq, content } of room.log) place(room.epoch, seq, content, 'the log');
  for (const { name: who, steps } of readers) {
    for (const { kind, epoch, seq, content } of steps) {
      if (kind === 'message') place(epoch, seq, content, who);
    }
  }
  for (const { epoch, seq, content, acked } of publishes) {
    if (acked !== undefined) place(epoch, seq, content, 'its acknowledgement');
  }
  const seen = new Map();
  for (const [at, { epoch, seq, content }] of order) {
    // Who was not answered before all was lost sends it again.
    const one = room.lost ? `${epoch} ${content}` : content;
    if (seen.has(one)) object('once', `${name}: ${content} is at ${seen.get(one)} and at ${at}`);
    seen.set(one, at);
    if (epoch === room.epoch && seq > room.head) object('head', `${name}: ${content} is at ${seq}, beyond the head ${room.head}`);
  }
  return order;
}

/** What was acknowledged is there, and what is there was sent. */
function checkPublishes(name, room, publishes, order, object) {
  const logged = new Set(room.log.map(({ content }) => content));
  const oldest = room.log[0]?.seq ?? room.head + 1;
  for (const { content, sent, acked, seq, epoch } of publishes) {
    if (acked === undefined) continue;
    if (acked < sent) object('time', `${name}: ${content} was acknowledged before it was sent`);
    if (epoch !== room.epoch && room.lost) continue;
    if (epoch !== room.epoch) object('epoch', `${name}: ${content} was acknowledged in epoch ${epoch}, the room's is ${room.epoch}`);
    // What a memory room has let go of is not in its log; that its number was given once is checked above.
    if (!logged.has(content) && (room.keep === 'store' || seq >= oldest)) object('lost', `${name}: ${content} was acknowledged with ${seq} and is not in the log`);
  }
  const sent = new Set(publishes.map(({ content }) => content));
  for (const [at, { content, who }] of order) {
    if (!sent.has(content)) object('phantom', `${name}: ${content} at ${at}, seen by ${who}, was never sent`);
  }
  // When all were answered, each number was given to exactly one of them.
  if (!room.lost && publishes.every(({ acked }) => acked !== undefined) && publishes.length !== room.head) {
    object('dense', `${name}: ${publishes.length} publishes were acknowledged, the head is ${room.head}`);
  }
}

/** Who sends after another was acknowledged comes after it. Of one epoch: others are not before or after it. */
function checkRealTime(name, publishes, object) {
  const moments = publishes.filter(({ acked }) => acked !== undefined).flatMap((publish) => [
    { at: publish.sent, publish, sends: true },
    { at: publish.acked, publish, sends: false },
  ]);
  moments.sort((one, other) => one.at - other.at);
  const least = new Map();
  let highest = { seq: 0 };
  for (const { publish, sends } of moments) {
    if (sends) least.set(publish, highest);
    else {
      const before = least.get(publish);
      if (before && before.seq >= publish.seq) {
        object('real time', `${name}: ${publish.content} has ${publish.seq}, though ${before.content} was acknowledged with ${before.seq} before it was sent`);
      }
      if (publish.seq > highest.seq) highest = publish;
    }
  }
}

/** A reader saw one sequence from where it began to the head; what is missing it was told of, exactly. */
function checkReader(room, { name, steps }, object) {
  let place;
  for (const step of steps) {
    const { kind, epoch, seq, from, to } = step;
    if (kind === 'start') {
      if (place !== undefined) object('reader', `${name} began twice`);
      place = { epoch, seq };
      continue;
    }
    if (place === undefined) {
      object('reader', `${name} read before it began`);
      place = { epoch, seq: (seq ?? from) - 1 };
    }
    if (kind === 'gap') {
      if (room.keep === 'store') object('gap', `${name} was told of a gap ${from} to ${to} in a stored room`);
      const begins = epoch === place.epoch ? place.seq + 1 : 0;
      if (from !== begins || to < from) object('gap', `${name} stood at ${place.epoch}:${place.seq} and was told of a gap ${from} to ${to} in ${epoch}`);
      place = { epoch, seq: to };
    } else {
      if (epoch !== place.epoch) object('epoch', `${name} saw ${epoch}:${seq} behind ${place.epoch}:${place.seq}`);
      else if (seq <= place.seq) object('again', `${name} saw ${seq} behind ${place.seq}`);
      else if (seq !== place.seq + 1) object('untold', `${name} saw ${seq} behind ${place.seq} and was told of no gap`);
      place = { epoch, seq };
    }
  }
  if (place === undefined) object('stuck', `${name} never began`);
  else if (place.epoch !== room.epoch || place.seq !== room.head) {
    object('stuck', `${name} ended at ${place.epoch}:${place.seq}, the head is ${room.epoch}:${room.head}`);
  }
}
