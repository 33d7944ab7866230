// Is to a broker what anybody's OpenID client and resource server are. Answers
// each line of JSON on its input with one of its output: {"ok":…}, or
// {"error":…} with the code that the library gives.
//   discover                             the metadata, as openid-client takes it
//   verify   token audience at [fresh]   jose, with the keys kept from before unless fresh
//   renew    key                         a session by key alone, the proof by dpop
//   mint     key session audience skew   openid-client's own grant request, with its DPoP
//   call     key session method path     openid-client's request to a protected resource
//   accept   method url session proof    oauth4webapi as a resource server
// at is the time in seconds; skew is how far ahead of the real clock the broker is.
import { createInterface } from "node:readline";
import * as client from "openid-client";
import * as oauth from "oauth4webapi";
import * as jose from "jose";
import * as dpop from "dpop";

const issuer = new URL(process.argv[2]);
const kept = new Map();

async function pair({ d, ...pub }) {
  const alg = { name: "ECDSA", namedCurve: "P-256" };
  return {
    publicKey: await crypto.subtle.importKey("jwk", pub, alg, true, ["verify"]),
    privateKey: await crypto.subtle.importKey("jwk", { ...pub, d }, alg, false, ["sign"]),
  };
}

const discover = (skew, auth) => client.discovery(issuer, "agentkeys", { [client.clockSkew]: skew ?? 0 }, auth ?? client.None());

function keys(uri, fresh) {
  // No pause between two readings: how long that is, is the client's choice.
  const make = () => jose.createRemoteJWKSet(new URL(uri), { cooldownDuration: 0 });
  if (fresh) return make();
  if (!kept.has(uri)) kept.set(uri, make());
  return kept.get(uri);
}

const does = {
  async discover() {
    return (await discover()).serverMetadata();
  },
  async verify(q) {
    const { issuer, jwks_uri, id_token_signing_alg_values_supported } = (await discover()).serverMetadata();
    const { payload, protectedHeader } = await jose.jwtVerify(q.token, keys(jwks_uri, q.fresh), {
      issuer, audience: q.audience, typ: "JWT", algorithms: id_token_signing_alg_values_supported,
      requiredClaims: ["sub", "iat", "nbf", "exp", "jti"], currentDate: new Date(q.at * 1000),
    });
    return { claims: payload, header: protectedHeader };
  },
  async renew(q) {
    const url = new URL("/v1/session", issuer).href;
    const response = await fetch(url, { method: "POST", headers: { DPoP: await dpop.generateProof(await pair(q.key), url, "POST") } });
    return { status: response.status, body: await response.json() };
  },
  async mint(q) {
    // The session authenticates the request besides being its subject, and so
    // the proof says which it is: both are the library's own hooks.
    const config = await discover(q.skew, (_as, _client, _body, headers) => headers.set("authorization", `DPoP ${q.session}`));
    const ath = Buffer.from(await crypto.subtle.digest("SHA-256", Buffer.from(q.session))).toString("base64url");
    const DPoP = client.getDPoPHandle(config, await pair(q.key), {
      [client.modifyAssertion]: (_header, payload) => { if (!q.unbound) payload.ath = ath; },
    });
    return await client.genericGrantRequest(config, "urn:ietf:params:oauth:grant-type:token-exchange", {
      subject_token: q.session, subject_token_type: "urn:ietf:params:oauth:token-type:access_token", audience: q.audience,
    }, { DPoP });
  },
  async call(q) {
    const config = await discover();
    const DPoP = client.getDPoPHandle(config, await pair(q.key));
    const response = await client.fetchProtectedResource(config, q.session, new URL(q.path, issuer), q.method, undefined, undefined, { DPoP });
    return { status: response.status, body: await response.json() };
  },
  async accept(q) {
    const as = (await discover()).serverMetadata();
    const request = new Request(q.url, { method: q.method, headers: { authorization: `DPoP ${q.session}`, dpop: q.proof } });
    return await oauth.validateJwtAccessToken(as, request, as.issuer, { requireDPoP: true, signingAlgorithms: ["ES256"] });
  },
};

// refusal is what tells one error of the libraries from another.
function refusal(e) {
  const challenges = Array.isArray(e.cause) ? e.cause.map((c) => `${c.scheme} ${c.parameters?.error}`) : [];
  const network = e.cause?.code ?? e.cause?.cause?.code;
  return [e.code ?? e.name, e.claim, e.status, e.error, ...challenges, typeof network === "string" ? network : undefined, e.message].filter(Boolean).join(" ");
}

for await (const line of createInterface({ input: process.stdin })) {
  const q = JSON.parse(line);
  const answer = await does[q.do](q).then((ok) => ({ ok }), (e) => ({ error: refusal(e) }));
  process.stdout.write(JSON.stringify(answer) + "\n");
}
