// Prints what a standard's own library says: standards.mjs MODULES asyncapi FILE, or standards.mjs MODULES cloudevents RECORD
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const [modules, standard, file] = process.argv.slice(2);
const require = createRequire(`${modules}/`);
const text = readFileSync(file, "utf8");
if (standard === "asyncapi") {
  const { Parser } = require("@asyncapi/parser");
  const { document, diagnostics } = await new Parser().parse(text);
  const errors = diagnostics.filter((one) => one.severity < 2).map((one) => one.message); // the rest are remarks
  console.log(JSON.stringify({ channels: document?.channels().all().map((one) => one.address()), errors }));
} else {
  const { Kafka } = require("cloudevents");
  const { key, headers, value } = JSON.parse(text);
  const { id, type, source, data } = Kafka.toEvent({ key, headers, value: Buffer.from(value) });
  console.log(JSON.stringify({ id, type, source, data }));
}
