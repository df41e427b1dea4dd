// As sdk.py, for the libraries that are there for JavaScript only.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

// The libraries are beside the project and not beside this text.
const require = createRequire(pathToFileURL(process.env.FOREBAY_NODE + "/"));
const load = async (name) => import(pathToFileURL(require.resolve(name)));
const github = await import(
  pathToFileURL(process.env.FOREBAY_NODE + "/node_modules/@octokit/webhooks-methods/dist-node/index.js")
);
const { LinearWebhookClient } = await load("@linear/sdk/webhooks");

const answer = async (r) => {
  if (r.scheme === "github") {
    if (r.do === "sign") {
      return { headers: { "X-Hub-Signature-256": await github.sign(r.secret, r.body) }, body: r.body };
    }
    return { valid: await github.verify(r.secret, r.body, r.headers["x-hub-signature-256"]) };
  }
  const raw = Buffer.from(r.body);
  const client = new LinearWebhookClient(r.secret);
  return { valid: client.verify(raw, r.headers["linear-signature"], JSON.parse(r.body).webhookTimestamp) };
};

const asked = JSON.parse(readFileSync(0, "utf8"));
const said = [];
for (const r of asked) said.push(await answer(r));
console.log(JSON.stringify(said));
