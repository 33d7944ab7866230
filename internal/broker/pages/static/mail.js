// The link of a mail: <login id>.<token>.
"use strict";

start(/^([A-Za-z0-9_-]{1,128})\.([A-Za-z0-9_-]{1,256})$/, (login, token) => {
  by("go").addEventListener("click", () => run("Signing in…", async () => {
    handOff(login, await post(`/v1/logins/${login}/mail`, { token }));
  }));
});
