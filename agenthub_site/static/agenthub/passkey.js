// Passkeys: shown where a browser can use them. A form with data-passkey-form brings a credential along:
// "make" a new one, "use" one of this person's, or "login" with any. The options stand in #js_data, or behind the form's
// address.
const byName = window.isSecureContext && !/^[\d.]+$|^\[/.test(location.hostname);
const usable = byName && "credentials" in navigator && "PublicKeyCredential" in window;

for (const part of document.querySelectorAll("[data-passkey]")) part.hidden = !usable;
for (const part of document.querySelectorAll("[data-passkey-missing]")) part.hidden = usable;

async function options(form) {
  const told = document.getElementById("js_data");
  if (told) return JSON.parse(told.textContent);
  const answer = await fetch(form.action, { headers: { Accept: "application/json" } });
  if (!answer.ok) throw new Error(`The hub answered ${answer.status}.`);
  return answer.json();
}

async function credential(form) {
  const { request_options: toUse, creation_options: toMake } = await options(form);
  if (!toMake) return webauthnJSON.get(toUse);
  const alone = form.elements.passwordless?.checked ?? false;
  Object.assign(toMake.publicKey.authenticatorSelection, {
    residentKey: alone ? "required" : "discouraged",
    requireResidentKey: alone,
    ...(alone && { userVerification: "required" }),
  });
  return webauthnJSON.create(toMake);
}

function say(error) {
  const box = document.getElementById("passkey-error");
  box.querySelector("[data-text]").textContent =
    error.name === "InvalidStateError" ? "This device or key has a passkey for you already."
    : error.name === "NotAllowedError" ? "Nothing was used: it was cancelled, or took too long. Try again."
    : "The passkey could not be used. Try again, or sign in another way.";
  box.hidden = false;
}

for (const form of document.querySelectorAll("[data-passkey-form]")) {
  form.addEventListener("submit", async event => {
    event.preventDefault();
    try {
      form.elements.credential.value = JSON.stringify(await credential(form));
      form.submit();
    } catch (error) {
      say(error);
    }
  });
}
