// Tokens as any service signs them, with Node's own cryptography.

import { createHmac, generateKeyPairSync, sign } from 'node:crypto';

export const base64 = (value) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');

/** A key pair that signs by an algorithm, with its public halves in PEM and as a JWK. */
export function keyPair(algorithm, kid) {
  const [kind, options] = {
    RS256: ['rsa', { modulusLength: 2048 }],
    ES256: ['ec', { namedCurve: 'P-256' }],
    EdDSA: ['ed25519', {}],
  }[algorithm];
  const { privateKey, publicKey } = generateKeyPairSync(kind, options);
  const jwk = { ...publicKey.export({ format: 'jwk' }), ...(kid && { kid }), use: 'sig', alg: algorithm };
  const pem = publicKey.export({ type: 'spki', format: 'pem' });
  return { algorithm, kid, privateKey, pem, jwk };
}

/** Signs claims with a key pair, under a header that may say anything. */
export function signed(claims, { algorithm, kid, privateKey }, header = {}) {
  const text = `${base64({ alg: algorithm, typ: 'JWT', ...(kid && { kid }), ...header })}.${base64(claims)}`;
  const hash = algorithm === 'EdDSA' ? null : 'sha256';
  return `${text}.${sign(hash, Buffer.from(text), { key: privateKey, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`;
}

/** Signs claims with a secret. */
export function sealed(claims, secret, { hash = 'sha256', header = { alg: 'HS256', typ: 'JWT' } } = {}) {
  const text = `${base64(header)}.${base64(claims)}`;
  return `${text}.${createHmac(hash, secret).update(text).digest('base64url')}`;
}

/** A token of a user that never ends. */
export const token = (user, secret) => sealed({ sub: user, exp: 4_000_000_000 }, secret);

/** Seconds since 1970, so many from now. */
export const inSeconds = (seconds) => Math.floor(Date.now() / 1000) + seconds;
