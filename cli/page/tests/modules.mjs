// What the tests need from npm lies where scripts/tests.d/node-modules put it, outside of the tree.

import { createRequire } from "node:module";

const folder = process.env.KEEPBEAT_NODE_MODULES;
if (!folder) {
  throw new Error("KEEPBEAT_NODE_MODULES is not set; run scripts/tests.d/60-page or 61-browser, which install what is needed");
}

export const load = createRequire(`${folder}/`);
