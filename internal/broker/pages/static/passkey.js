// A login with a passkey: <login id>.
"use strict";

start(/^([A-Za-z0-9_-]{1,128})$/, (login) => {
  const path = `/v1/logins/${login}/passkey`;
  const able = window.PublicKeyCredential && PublicKeyCredential.parseRequestOptionsFromJSON && PublicKeyCredential.parseCreationOptionsFromJSON;
  if (!able) {
    fail("This browser has no passkeys", "Use a newer browser, or log in another way: agentkeys login --help names them.");
    return;
  }
  const ceremony = async (register) => {
    const options = (await post(path, { register })).publicKey;
    say("Follow your browser or device…");
    const credential = register
      ? await navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options) })
      : await navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options) });
    say("Signing in…");
    handOff(login, await post(path + "/answer", credential.toJSON()));
  };
  const explain = (e) => {
    if (e instanceof DOMException && e.name === "NotAllowedError") {
      fail("No passkey was used", "You or your device stopped it, it took too long, or there is no passkey for this broker here. Press a button to try again.", true);
    } else if (e instanceof DOMException && e.name === "SecurityError") {
      fail("The browser does not allow passkeys here", "The broker's address and the name its passkeys are made for do not match. Tell whoever runs it.");
    } else if (e instanceof DOMException && e.name !== "NetworkError" && e.name !== "AbortError") {
      fail("This device cannot do that", "It needs passkeys that are kept on the device and ask for your finger, face or PIN. Try another device or security key.", true);
    } else if (e instanceof Refusal && e.status === 403) {
      fail("The passkey was refused, or the login has ended", "The broker may not know this passkey. Run agentkeys login --passkey again on the device that asked.");
    } else {
      return false;
    }
    return true;
  };
  by("go").addEventListener("click", () => run("Asking the broker…", () => ceremony(false), explain));
  by("make").addEventListener("click", () => run("Asking the broker…", () => ceremony(true), explain));
});
