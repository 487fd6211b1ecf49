// SPDX-License-Identifier: Apache-2.0
// strophe.js with its plugin for MAM, over a WebSocket.
"use strict";

const { Strophe } = require("strophe.js");
require("strophejs-plugin-rsm");
require("strophejs-plugin-mam");
const walk = require("./walk.cjs");

function text(element, name) {
  const found = element.getElementsByTagName(name)[0];
  return found ? Strophe.getText(found) : undefined;
}

function connect({ jid, password, websocket }) {
  const connection = new Strophe.Connection(websocket);
  const ask = ({ to, after, before, max }) => new Promise((resolve, reject) => {
    const entries = [];
    connection.mam.query(to || Strophe.getBareJidFromJid(jid), {
      after, before, max,
      onMessage(message) {
        const id = message.getElementsByTagName("result")[0].getAttribute("id");
        entries.push({ id, body: Strophe.xmlunescape(text(message, "body")) });
        return true; // more may come
      },
      onComplete(answer) {
        if (answer.getAttribute("type") !== "result") reject(new Error(answer.toString()));
        const fin = answer.getElementsByTagName("fin")[0];
        const set = new Strophe.RSM({ xml: fin.getElementsByTagName("set")[0] });
        resolve({ entries, first: set.first, last: set.last,
                  complete: fin.getAttribute("complete") === "true" });
      },
    });
  });
  return new Promise((resolve, reject) => {
    connection.connect(jid, password, (status, why) => {
      if (status === Strophe.Status.CONNECTED) resolve(ask);
      if (status === Strophe.Status.CONNFAIL || status === Strophe.Status.AUTHFAIL)
        reject(new Error(`not connected: ${why}`));
    });
  });
}

walk(connect);
