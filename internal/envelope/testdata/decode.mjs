// A second reader of credential envelope v1, written from the drawing on
// Header and Record and from RFC 5869, RFC 8785 and RFC 4648, with nothing but
// Node's own crypto.
//
//   node decode.mjs < vectors.json
//
// prints, for each vector, what it makes of kek, name and sealed. It reads
// neither result, header nor record. See README.md.

import { createDecipheriv, hkdfSync, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';

class Refusal extends Error {}
const refuse = (result) => { throw new Refusal(result); };

const VERSION = 1;
const HEADER = 77;
const TAG = 16;
const UNIT = 256;
const LARGEST = 65536;

function lengthPrefixed(bytes) {
  const out = Buffer.alloc(4 + bytes.length);
  out.writeUInt32BE(bytes.length);
  bytes.copy(out, 4);
  return out;
}

export function open(kek, { wallet, service }, sealed) {
  if (sealed.length === 0) refuse('truncated');
  if (sealed.readUInt8(0) !== VERSION) refuse('version');
  if (sealed.length < HEADER + UNIT + TAG) refuse('truncated');
  if (sealed.length > HEADER + LARGEST + TAG) refuse('too-large');

  const epoch = sealed.readUInt32BE(1);
  const revision = sealed.readBigUInt64BE(5);
  if (epoch === 0 || revision === 0n) refuse('zero');

  const header = sealed.subarray(0, HEADER);
  const salt = header.subarray(13, 45);
  const commitment = header.subarray(45, 77);
  const okm = Buffer.from(hkdfSync('sha256', kek, salt, 'agentkeys/v1/envelope', 32 + 32 + 12));
  if (!timingSafeEqual(okm.subarray(32, 64), commitment)) refuse('commitment');

  const gcm = createDecipheriv('aes-256-gcm', okm.subarray(0, 32), okm.subarray(64), { authTagLength: TAG });
  gcm.setAAD(Buffer.concat([
    header,
    lengthPrefixed(Buffer.from(wallet.slice(2), 'hex')),
    lengthPrefixed(Buffer.from(service, 'ascii')),
  ]));
  gcm.setAuthTag(sealed.subarray(sealed.length - TAG));
  const plain = gcm.update(sealed.subarray(HEADER, sealed.length - TAG));
  try {
    gcm.final();
  } catch {
    refuse('decrypt');
  }
  return { header: { epoch: String(epoch), revision: String(revision) }, record: readRecord(plain) };
}

const isTime = (n) => Number.isInteger(n) && n >= 0 && n <= 253402300799;
const isText = (s) => typeof s === 'string' && s.isWellFormed();
const isSecret = (s) => typeof s === 'string' && s !== '' && Buffer.from(s, 'base64').toString('base64') === s;
const members = {
  expires_at: isTime, key_id: isText, kind: isText, route: isText,
  secret: isSecret, v: (n) => n === 1, verified_at: isTime,
};

function readRecord(plain) {
  // JSON never holds a zero byte, so the first one begins the padding.
  const end = plain.indexOf(0);
  const json = end < 0 ? plain : plain.subarray(0, end);
  const padding = plain.subarray(json.length);
  if (plain.length % UNIT !== 0 || padding.length >= UNIT || padding.some((b) => b !== 0)) refuse('record');

  let value;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(json));
  } catch {
    refuse('record');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) refuse('record');
  const names = Object.keys(members); // sorted, as RFC 8785 wants them
  if (Object.keys(value).length !== names.length) refuse('record');
  for (const name of names) {
    if (!Object.hasOwn(value, name) || !members[name](value[name])) refuse('record');
  }
  // For strings and small integers, JSON.stringify is what RFC 8785 defines its
  // canonical form by. Comparing bytes finds duplicates and other spellings.
  if (!Buffer.from(JSON.stringify(value, names)).equals(json)) refuse('record');

  const { secret, kind, key_id, route, verified_at, expires_at } = value;
  return { secret, kind, key_id, route, verified_at, expires_at };
}

const answers = JSON.parse(readFileSync(0, 'utf8')).vectors.map(({ id, kek, name, sealed }) => {
  try {
    const opened = open(Buffer.from(kek, 'hex'), name, Buffer.from(sealed, 'base64'));
    return { id, result: 'ok', ...opened };
  } catch (e) {
    if (!(e instanceof Refusal)) throw e;
    return { id, result: e.message };
  }
});
process.stdout.write(JSON.stringify(answers));
