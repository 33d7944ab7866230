// A conforming OpenID provider on a port of its own, with one client. Anybody
// logs in by naming an account: the part of it behind the first dot says what
// is special, as in ada.unverified and ada.example-org.
import { createServer } from "node:http";
import { Provider } from "oidc-provider";

const [, , redirectURI, clientID, clientSecret] = process.argv;
const server = createServer();
await new Promise((done) => server.listen(0, "127.0.0.1", done));
const issuer = `http://127.0.0.1:${server.address().port}`;

const provider = new Provider(issuer, {
  clients: [{ client_id: clientID, client_secret: clientSecret, redirect_uris: [redirectURI], response_types: ["code"], grant_types: ["authorization_code"] }],
  claims: { openid: ["sub", "hd"], email: ["email", "email_verified"] },
  conformIdTokenClaims: false, // e-mail in the ID token, as Google has it
  pkce: { required: () => true },
  cookies: { keys: ["only for tests"] },
  findAccount: (ctx, sub) => ({
    accountId: sub,
    claims: () => ({ sub, email: `${sub}@mail.example`, email_verified: !sub.includes(".unverified"), ...(sub.includes(".example-org") && { hd: "example.org" }) }),
  }),
});
server.on("request", provider.callback());
console.log(issuer);
process.stdin.resume().on("end", () => process.exit(0));
