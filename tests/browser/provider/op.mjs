// A certified OpenID provider with pages to sign in by any name. Prints its issuer; a line on standard input, the hub's
// address, makes the hub its client. Until then it answers 503, as a provider that is down does. Ends with its input.
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const { Provider } = await import(pathToFileURL(`${process.argv[2]}/node_modules/oidc-provider/lib/index.js`));
let handle = (_, answer) => answer.writeHead(503).end();
const server = createServer((request, answer) => handle(request, answer));
await new Promise(resolve => server.listen(0, "127.0.0.1", resolve));
const issuer = `http://127.0.0.1:${server.address().port}`;

function serve(hub) {
  const provider = new Provider(issuer, {
    clients: [{
      client_id: "agenthub",
      client_secret: "a secret of the tests",
      redirect_uris: [`${hub}/oidc/callback/`],
      post_logout_redirect_uris: [`${hub}/login/`],
      backchannel_logout_uri: `${hub}/oidc/backchannel-logout`,
      backchannel_logout_session_required: true,
    }],
    pkce: { required: () => true },
    claims: { openid: ["sub"], profile: ["name", "preferred_username"], email: ["email", "email_verified"] },
    features: { devInteractions: { enabled: true }, backchannelLogout: { enabled: true } },
    findAccount: (_, id) => ({
      accountId: id,
      claims: () => ({ sub: id, preferred_username: id, email: `${id}@example.org`, email_verified: true }),
    }),
    // Its own guards it from addresses such as this hub's, and waits 2.5 s.
    fetch: (url, { dispatcher, signal, ...options }) => fetch(url, { ...options, signal: AbortSignal.timeout(60_000) }),
    cookies: { keys: ["of the tests"] },
  });
  for (const trouble of ["server_error", "backchannel.error", "grant.error", "authorization.error"])
    provider.on(trouble, (...told) => console.error(trouble, ...told.filter(one => one instanceof Error)));
  handle = provider.callback();
}

const lines = createInterface({ input: process.stdin });
lines.on("line", hub => { serve(hub); console.log("ready"); });
lines.on("close", () => process.exit());
console.log(issuer);
