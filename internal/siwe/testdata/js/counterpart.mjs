// Answers each line of JSON on its input with one of its output:
//   {"do":"sign","key":"0x…","fields":{…}}  the message that siwe writes and ethers signs
//   {"do":"signText","key":"0x…","text":"…"} ethers signs that text, and says its address
//   {"do":"parse","text":"…"}               what siwe-parser reads, or that it refuses
import { createInterface } from "node:readline";
import { Wallet } from "ethers";
import { ParsedMessage } from "@spruceid/siwe-parser";
import { SiweMessage } from "siwe";
import { createSiweMessage } from "viem/siwe";

async function answer(q) {
  switch (q.do) {
    case "sign": {
      const wallet = new Wallet(q.key);
      const text = new SiweMessage({ ...q.fields, address: wallet.address }).prepareMessage();
      return { address: wallet.address, text, signature: await wallet.signMessage(text) };
    }
    case "signViem": {
      const wallet = new Wallet(q.key);
      const f = q.fields;
      const text = createSiweMessage({ ...f, address: wallet.address, issuedAt: new Date(f.issuedAt), expirationTime: new Date(f.expirationTime) });
      return { address: wallet.address, text, signature: await wallet.signMessage(text) };
    }
    case "signText": {
      const wallet = new Wallet(q.key);
      return { address: wallet.address, text: q.text, signature: await wallet.signMessage(q.text) };
    }
    case "parse":
      try {
        const m = new ParsedMessage(q.text);
        return { ok: true, fields: { domain: m.domain, address: m.address, statement: m.statement, uri: m.uri, chainId: String(m.chainId), nonce: m.nonce,
          issuedAt: m.issuedAt, expirationTime: m.expirationTime, notBefore: m.notBefore, requestId: m.requestId, resources: m.resources } };
      } catch (e) {
        return { ok: false };
      }
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(JSON.stringify(await answer(JSON.parse(line))) + "\n");
}
