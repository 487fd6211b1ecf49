// SPDX-License-Identifier: Apache-2.0
// How many pushes a second @parse/node-apn makes on one connection with so many in flight.
// node node_apn.cjs PORT CA.pem KEY.p8 PUSHES IN-FLIGHT DEVICES prints one JSON object.
'use strict';
const fs = require('fs');
const apn = require('@parse/node-apn');

const [port, ca, key, pushes, inFlight, devices] = process.argv.slice(2);
const provider = new apn.Provider({
  token: { key, keyId: 'ABC123DEFG', teamId: 'TEAM123456' },
  address: '127.0.0.1', port: Number(port), ca: fs.readFileSync(ca), production: true,
});

async function run(count) {
  let next = 0, refused = 0;
  async function one() {
    while (next < count) {
      const n = next++;
      const note = new apn.Notification();
      note.topic = 'org.example.chat';
      note.pushType = 'alert';
      note.priority = 10;
      note.expiry = 1900000000;
      note.collapseId = '0123456789abcdef';
      note.badge = n % 99 + 1;
      note.sound = 'default';
      note.threadId = '0123456789abcdef';
      note.alert = { title: 'juliet@example.org', body: 'New message' };
      const token = (n % Number(devices)).toString(16).padStart(64, '0');
      const answer = await provider.send(note, token);
      refused += answer.failed.length;
      if (answer.failed.length && refused === 1)
        process.stderr.write(JSON.stringify(answer.failed[0]) + '\n');
    }
  }
  const begin = process.hrtime.bigint();
  await Promise.all(Array.from({ length: Number(inFlight) }, one));
  return { rate: count / (Number(process.hrtime.bigint() - begin) / 1e9), refused };
}

(async () => {
  await run(2000); // compiled, connected
  process.stdout.write(JSON.stringify(await run(Number(pushes))) + '\n');
  provider.shutdown();
})();
