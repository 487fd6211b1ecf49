// SPDX-License-Identifier: Apache-2.0
// What all drivers do with their library: read one line of JSON from standard input
//   {"jid": …, "password": …, "websocket": …, "walks": [{"to", "after", "max", "reverse", "pages"}, …]}
// log in, walk through the archive as told, page by page, and print one line of JSON per page
// ({"page": n}), behind which any line lets the walk go on, and per walk ({"ids": […], "bodies":
// […]}).  Ends with status 1 on any error.
"use strict";

const readline = require("node:readline");

function say(value) {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

// ask({to, after, before, max}) gives {entries: [{id, body}], first, last, complete}.
async function walk(ask, lines, { to, after, max, reverse, pages }) {
  let entries = [];
  let anchor = reverse ? { before: "" } : { after };
  for (let number = 1; ; number++) {
    const page = await ask({ to, max, ...anchor });
    entries = reverse ? page.entries.concat(entries) : entries.concat(page.entries);
    say({ page: number });
    await lines.next();
    if (page.complete || number === pages) break;
    if (!page.first || !page.last) throw new Error("an incomplete page without first and last");
    anchor = reverse ? { before: page.first } : { after: page.last };
  }
  say({ ids: entries.map((e) => e.id), bodies: entries.map((e) => e.body) });
}

// connect(config) logs in and gives ask(), above.
async function run(connect) {
  const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  const config = JSON.parse((await lines.next()).value);
  const ask = await connect(config);
  for (const wanted of config.walks) await walk(ask, lines, wanted);
  process.stdout.write("", () => process.exit(0)); // once all is written
}

module.exports = (connect) =>
  run(connect).catch((error) => {
    console.error(error);
    process.exit(1);
  });
