package sites

// clerkBody renders forms as Clerk's components do: nothing is in the document
// itself. An id is the field's name and "-field", a submit button has the class
// cl-formButtonPrimary, a bot check shows in #clerk-captcha once it is wanted.
var clerkBody = body(`<div id="clerk-components"></div>
<noscript>JavaScript is needed to sign up.</noscript>
<script>
"use strict";
const host = "https://{{.Host}}", root = document.getElementById("clerk-components");
let client = {}, address = "";

const make = (tag, attributes, ...inner) => {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(attributes || {})) k === "onclick" ? e.addEventListener("click", v) : v === true ? e.setAttribute(k, "") : e.setAttribute(k, v);
  e.append(...inner);
  return e;
};
const refresh = async () => client = await (await fetch(host + "/v1/client", {credentials: "include"})).json();
const send = async (path, fields) => {
  const a = await fetch(host + path, {method: "POST", credentials: "include", headers: {Accept: "application/json"},
    body: new URLSearchParams({csrf: client.csrf, ...fields})});
  const text = await a.json().catch(() => ({errors: [{message: "Something went wrong. Please try again."}]}));
  if (!a.ok) throw text.errors[0];
  return text;
};
const input = (name, label, type, more) => [
  make("label", {for: name + "-field", class: "cl-formFieldLabel"}, label),
  make("input", {id: name + "-field", name, type, class: "cl-formFieldInput", ...more})];
const foot = (text, words, to) => make("p", {class: "foot"}, text + " ", make("a", {href: to, class: "cl-footerActionLink"}, words));

// solved waits for the frame of the bot check to say that a person answered it.
const solved = () => new Promise(done => {
  if (!client.captcha) return done("");
  const holder = document.getElementById("clerk-captcha");
  holder.append(make("iframe", {src: client.captcha, width: "300", height: "65", style: "border:0;margin-top:14px", title: "Widget containing a security challenge"}));
  addEventListener("message", function told(e) {
    if (e.origin !== "https://{{.CheckHost}}" || !e.data.token) return;
    removeEventListener("message", told);
    holder.replaceChildren();
    done(e.data.token);
  });
});

// form shows a card; what go throws is shown in it.
const form = (title, sub, fields, go, last) => {
  const wrong = make("p", {role: "alert", class: "cl-formFieldErrorText"});
  const button = make("button", {class: "main cl-formButtonPrimary", type: "submit"}, "Continue");
  const f = make("form", {class: "card cl-card", novalidate: true}, make("h1", {class: "cl-headerTitle"}, title), make("p", {class: "sub cl-headerSubtitle"}, sub),
    ...fields, wrong, make("div", {id: "clerk-captcha"}), button, last || "");
  f.addEventListener("submit", async e => {
    e.preventDefault();
    wrong.textContent = "";
    button.disabled = true;
    try { await go(f); } catch (err) { wrong.textContent = err.message || "Something went wrong."; await refresh(); }
    button.disabled = false;
  });
  root.replaceChildren(f);
  return f;
};
const social = () => [make("button", {type: "button", class: "full cl-socialButtonsBlockButton"}, "Continue with Google"),
  make("button", {type: "button", class: "full cl-socialButtonsBlockButton"}, "Continue with GitHub"), make("div", {class: "or"}, "or")];

const signUp = () => form("Create your account", "Welcome! Please fill in the details to get started.", [
  ...social(), ...input("emailAddress", "Email address", "email", {autocomplete: "email", placeholder: "Enter your email address", required: true}),
  ...input("password", "Password", "password", {autocomplete: "new-password", placeholder: "Create a password", required: true}),
  make("label", {class: "box", for: "legalAccepted-field"}, make("input", {type: "checkbox", id: "legalAccepted-field", name: "legalAccepted"}),
    make("span", {}, "I agree to the Terms of Service and Privacy Policy")),
], async f => {
  const token = await solved();
  await send("/v1/client/sign_ups", {emailAddress: f.emailAddress.value, password: f.password.value,
    legalAccepted: f.legalAccepted.checked ? "true" : "", "{{.CheckField}}": token});
  await refresh();
  history.pushState({}, "", "/sign-up/verify-email-address");
  verify();
}, foot("Already have an account?", "Sign in", "/sign-in"));

const verify = () => {
  const f = form("Verify your email", "Enter the verification code sent to your email: " + client.pending, [
    ...input("code", "Verification code", "text", {autocomplete: "one-time-code", inputmode: "numeric", maxlength: "6", required: true}),
  ], async f => {
    await send("/v1/client/sign_ups/attempt_verification", {code: f.code.value});
    location.assign("/");
  }, make("p", {class: "foot"}, "Or open the link in the email."));
  f.code.addEventListener("input", () => { if (f.code.value.length === 6) f.requestSubmit(); });
  // The link may be opened in another tab.
  const wait = async () => { await refresh(); client.signed_in ? location.assign("/") : setTimeout(wait, 1000); };
  setTimeout(wait, 1000);
};

const signIn = () => form("Sign in to OpenRouter", "Welcome back! Please sign in to continue.", [
  ...social(), ...input("identifier", "Email address", "text", {autocomplete: "username", placeholder: "Enter your email address", required: true}),
], async f => {
  address = f.identifier.value;
  const token = await solved();
  await send("/v1/client/sign_ins", {identifier: address, "{{.CheckField}}": token});
  history.pushState({}, "", "/sign-in/factor-one" + location.search);
  factorOne();
}, foot("Don't have an account?", "Sign up", "/sign-up"));

const factorOne = () => form("Enter your password", "Enter the password associated with your account " + address, [
  ...input("password", "Password", "password", {autocomplete: "current-password", placeholder: "Enter your password", required: true}),
], async f => {
  await send("/v1/client/sign_ins/attempt_first_factor", {identifier: address, password: f.password.value});
  const to = new URLSearchParams(location.search).get("redirect_url") || "/";
  location.assign(to.startsWith("/") && !to.startsWith("//") ? to : "/");
});

(async () => {
  await refresh();
  if (location.pathname.startsWith("/sign-in")) return signIn();
  location.pathname.endsWith("/verify-email-address") && client.pending ? verify() : signUp();
})();
</script>`)
