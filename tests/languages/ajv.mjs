// Prints for each vector whose value is JSON, in order, whether Ajv accepts it: node ajv.mjs MODULES SCHEMA VECTORS
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const [modules, schema, vectors] = process.argv.slice(2);
const require = createRequire(`${modules}/`);
const Ajv = require("ajv/dist/2020").default;
const ajv = new Ajv({ allowUnionTypes: true });
require("ajv-formats").default(ajv);
const validate = ajv.compile(JSON.parse(readFileSync(schema, "utf8")));
const lines = readFileSync(vectors, "utf8").trimEnd().split("\n").map((line) => JSON.parse(line));
const verdicts = lines
  .filter((vector) => vector.schema !== null)
  .map((vector) => [vector.name, validate(JSON.parse(vector.value)) ? "accepts" : "refuses"]);
console.log(JSON.stringify(Object.fromEntries(verdicts)));
