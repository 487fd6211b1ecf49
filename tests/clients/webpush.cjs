// SPDX-License-Identifier: Apache-2.0
// The browser's end of Web Push, and the reference implementation of ours: one JSON object per
// line in, one out.
//   {"op": "subscribe"}                          keys of a new subscription
//   {"op": "decrypt", "keys": {...}, "body": hex}  what a push says, by http_ece
//   {"op": "request", "subscription": {...}, "vapid": {...}, "payload", "options"}
//                                                the request that web-push would send
"use strict";

const crypto = require("node:crypto");
const readline = require("node:readline");
const ece = require("http_ece");
const webpush = require("web-push");

function subscribe() {
  const ecdh = crypto.createECDH("prime256v1");
  ecdh.generateKeys();
  return {
    p256dh: ecdh.getPublicKey("base64url"),
    private: ecdh.getPrivateKey("base64url"),
    auth: crypto.randomBytes(16).toString("base64url"),
  };
}

function decrypt({ keys, body }) {
  const ecdh = crypto.createECDH("prime256v1");
  ecdh.setPrivateKey(keys.private, "base64url");
  const plain = ece.decrypt(Buffer.from(body, "hex"), {
    version: "aes128gcm", privateKey: ecdh, authSecret: keys.auth,
  });
  return { plain: plain.toString("utf8") };
}

function request({ subscription, vapid, payload, options }) {
  const made = webpush.generateRequestDetails(
    subscription, payload, { ...options, vapidDetails: vapid, contentEncoding: "aes128gcm" });
  return { endpoint: made.endpoint, headers: made.headers, body: made.body.toString("hex") };
}

const ops = { subscribe, decrypt, request, vapid: webpush.generateVAPIDKeys };

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const order = JSON.parse(line);
  let answer;
  try {
    answer = ops[order.op](order);
  } catch (error) {
    answer = { error: String(error) };
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
});
