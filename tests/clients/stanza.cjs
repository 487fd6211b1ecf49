// SPDX-License-Identifier: Apache-2.0
// stanza.js: its searchHistory(), over a WebSocket.
"use strict";

const XMPP = require("stanza");
const walk = require("./walk.cjs");

function connect({ jid, password, websocket }) {
  const client = XMPP.createClient({
    jid, password, allowResumption: false, autoReconnect: false,
    transports: { bosh: false, websocket },
  });
  const ask = async ({ to, after, before, max }) => {
    const page = await client.searchHistory({ to, paging: { after, before, max } });
    return {
      entries: page.results.map((r) => ({ id: r.id, body: r.item.message.body })),
      first: page.paging.first, last: page.paging.last, complete: page.complete,
    };
  };
  return new Promise((resolve, reject) => {
    client.on("session:started", () => resolve(ask));
    client.on("auth:failed", () => reject(new Error("not let in")));
    client.connect();
  });
}

walk(connect);
