// What the AsyncAPI parser says of a document, and ajv of its examples (the parser leaves those of
// AsyncAPI 3 alone): parse.mjs FOLDER_OF_NODE_MODULES DOCUMENT
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { resolve } from "node:path";

const [folder, file] = process.argv.slice(2);
const require = createRequire(`${resolve(folder)}/`);
const { Parser } = require("@asyncapi/parser");
const Ajv = require("ajv").default;

const { document, diagnostics } = await new Parser().parse(readFileSync(file, "utf8"));
const problems = diagnostics
  .filter(({ code }) => code !== "asyncapi-latest-version")
  .map(({ path, message }) => `${path.join(".")}: ${message}`);
const channels = [], examples = [];
for (const channel of document?.allChannels().all() ?? []) {
  channels.push(channel.address());
  for (const message of channel.messages().all()) {
    const ajv = new Ajv({ strict: false, allErrors: true });
    const fits = ajv.compile(message.payload().json());
    for (const example of message.examples().all()) {
      examples.push(message.name());
      if (!fits(example.payload())) {
        problems.push(`${message.name()}: ${ajv.errorsText(fits.errors)}`);
      }
    }
  }
}
console.log(JSON.stringify({ problems, channels, examples }));
