// A message of EIP-4361 for the wallet in this browser: base64url.
"use strict";

start(/^([A-Za-z0-9_-]{1,12000})$/, (encoded) => {
  let message;
  try {
    const bytes = Uint8Array.from(atob(encoded.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
    message = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    fail("The link is not whole", "It was cut or changed on its way. Copy the whole link, to its last letter.");
    return;
  }
  // This page asks wallets to sign in here, and to sign nothing else: the name
  // in the address bar would vouch for it.
  const lines = message.split("\n");
  const address = lines[1] || "";
  if (lines[0] !== `${location.host} wants you to sign in with your Ethereum account:` || !/^0x[0-9a-fA-F]{40}$/.test(address) || !lines.includes(`URI: ${location.origin}`)) {
    fail("This is no message of this broker", "Do not sign it anywhere. Run agentkeys login --wallet again, and use the link that it shows.");
    return;
  }
  by("message").textContent = message;
  if (!window.ethereum) {
    by("go").disabled = true;
    fail("There is no wallet in this browser", "Open this link in the browser that has your wallet, or sign the message above with any wallet that can sign text, and paste the signature in the terminal.", true);
    by("go").disabled = true;
    return;
  }
  const explain = (e) => {
    if (e instanceof WrongAccount) {
      fail("Your wallet uses another account", `The login is for ${address}. Choose that account in your wallet, then press the button again.`, true);
    } else if (e && e.code === 4001) {
      fail("You did not sign", "Nothing happened. Press the button to try again.", true);
    } else {
      fail("The wallet could not sign", "Unlock it, look whether it shows a question, then press the button again.", true);
    }
    return true;
  };
  by("go").addEventListener("click", () => run("Look at your wallet…", async () => {
    const accounts = await window.ethereum.request({ method: "eth_requestAccounts" });
    if (!accounts.some((a) => a.toLowerCase() === address.toLowerCase())) throw new WrongAccount();
    const hex = "0x" + Array.from(new TextEncoder().encode(message), (b) => b.toString(16).padStart(2, "0")).join("");
    by("signature").textContent = await window.ethereum.request({ method: "personal_sign", params: [hex, address] });
    show("signed");
    by("signed-title").focus();
  }, explain));
});

class WrongAccount extends Error {}
