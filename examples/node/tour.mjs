// Makes a collection, uploads vectors, builds, searches; reads features and the minibatches of a plan that are there.
//
//     npm ci && node tour.mjs 127.0.0.1:7443 ../../proto vectors.f32 DIM [TABLE [PLAN]]
//
// vectors.f32: float32, row by row. Prints one JSON document. An API key is taken from OUTCROP_API_KEY.

import { readFileSync } from "node:fs";

import { call, connect, finished, minibatches, readFeatures, tensor, upload, values } from "./outcrop.mjs";

const [address, protoFolder, file, dimText, table, plan] = process.argv.slice(2);
const dim = Number(dimText);
const bytes = readFileSync(file);
const clients = connect(address, protoFolder, process.env.OUTCROP_API_KEY);

await call(clients.CollectionService, "CreateCollection", { name: "from-node", spec: { dim, metric: "l2" } });
await upload(clients.UploadService, "node-1", "vectors", "DATA_TYPE_FLOAT32", [dim], bytes);
const { job } = await call(clients.IndexService, "BuildIndex", { collection: "from-node", upload_id: "node-1" });
await finished(clients, job);

const queries = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + 3 * dim * 4));
const found = await call(clients.VectorService, "Search", {
  collection: "from-node",
  k: 5,
  exact: true,
  queries: tensor("DATA_TYPE_FLOAT32", [3, dim], queries),
});
const report = { ids: Array.from(values(found.ids.numbers), Number), distances: Array.from(values(found.distances)) };

if (table) {
  const { shape, rows } = await readFeatures(clients, table, [5, 0, 5]);
  report.features = { shape, rows: Array.from(rows) };
}
if (plan) {
  const { plan: stored } = await call(clients.PlanService, "GetPlan", { name: plan });
  report.minibatches = [];
  for await (const minibatch of minibatches(clients, { plan: { name: plan, version: stored.version }, count: 3, slots: 3 })) {
    const { epoch, batch, nodes, layers, features } = minibatch;
    report.minibatches.push({
      epoch,
      batch,
      nodes: Array.from(nodes.node),
      indices: layers.map(({ indices }) => Array.from(indices)),
      features: Array.from(features[table].rows),
    });
  }
}
try {
  await call(clients.CollectionService, "GetCollection", { name: "nowhere" });
} catch (error) {
  report.missing = { code: error.code, details: error.details };
}
console.log(JSON.stringify(report));
