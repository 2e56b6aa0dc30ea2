// A small client of outcrop.v1 for Node.js: no generated code, the .proto files are read when the program starts.

import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";

const CHUNK_BYTES = 1 << 20;
const ARRAYS = {
  DATA_TYPE_FLOAT32: Float32Array,
  DATA_TYPE_FLOAT64: Float64Array,
  DATA_TYPE_UINT8: Uint8Array,
  DATA_TYPE_UINT16: Uint16Array,
  DATA_TYPE_UINT32: Uint32Array,
  DATA_TYPE_INT32: Int32Array,
  DATA_TYPE_UINT64: BigUint64Array,
  DATA_TYPE_INT64: BigInt64Array,
};

/** Clients of all services at an address, by name: {VectorService, FeatureService, ...}. */
export function connect(address, protoFolder, apiKey) {
  const files = ["admin", "collection", "feature", "graph", "index", "job", "plan", "snapshot", "upload", "vector"];
  const definition = protoLoader.loadSync(
    files.map((file) => `outcrop/v1/${file}.proto`),
    { includeDirs: [protoFolder], keepCase: true, longs: Number, enums: String, defaults: true, oneofs: true },
  );
  const services = grpc.loadPackageDefinition(definition).outcrop.v1;
  const metadata = new grpc.Metadata();
  if (apiKey) metadata.set("authorization", `Bearer ${apiKey}`);
  const options = { "grpc.max_receive_message_length": 16 << 20, "grpc.max_send_message_length": 16 << 20 };
  const clients = {};
  for (const [name, Service] of Object.entries(services)) {
    if (!Service.service) continue;
    const stub = new Service(address, grpc.credentials.createInsecure(), options);
    clients[name] = { stub, metadata };
  }
  return clients;
}

/** One message there, one back. */
export function call({ stub, metadata }, rpc, request) {
  return new Promise((resolve, reject) => {
    stub[rpc](request, metadata, (error, response) => (error ? reject(error) : resolve(response)));
  });
}

/** One message there, many back: an async iterable. */
export function stream({ stub, metadata }, rpc, request) {
  return stub[rpc](request, metadata);
}

/** Uploads an array in chunks of 1 MiB, whole rows each; resolves to what is durable. */
export function upload({ stub, metadata }, uploadId, array, dtype, rowShape, bytes) {
  const items = rowShape.reduce((product, length) => product * length, 1);
  const rowBytes = items * ARRAYS[dtype].BYTES_PER_ELEMENT;
  const rows = Math.max(1, Math.floor(CHUNK_BYTES / rowBytes));
  return new Promise((resolve, reject) => {
    const writing = stub.Upload(metadata, (error, response) => (error ? reject(error) : resolve(response)));
    for (let row = 0; row * rowBytes < bytes.length; row += rows) {
      const data = bytes.subarray(row * rowBytes, (row + rows) * rowBytes);
      writing.write({ upload_id: uploadId, array, dtype, row_shape: rowShape, start_row: row, data });
    }
    writing.end();
  });
}

/** Waits for a job; rejects with its error. */
export async function finished(clients, job) {
  for await (const { job: now } of stream(clients.JobService, "WatchJob", { job_id: job.id })) {
    if (now.state === "JOB_STATE_SUCCEEDED") return now;
    if (now.state === "JOB_STATE_FAILED" || now.state === "JOB_STATE_CANCELLED") {
      throw new Error(`${now.kind}: ${now.error?.message ?? now.state}`);
    }
  }
  throw new Error("the stream of the job ended before the job did");
}

/** A message Tensor of a typed array. */
export function tensor(dtype, shape, array) {
  return { dtype, shape, data: Buffer.from(array.buffer, array.byteOffset, array.byteLength) };
}

/** The typed array of a Tensor, or of a TensorPlace within a payload. */
export function values({ dtype, data, shape, offset_bytes: offset = 0 }, payload = data) {
  const Kind = ARRAYS[dtype];
  const length = shape.reduce((product, size) => product * size, 1);
  const copy = Uint8Array.prototype.slice.call(payload, offset, offset + length * Kind.BYTES_PER_ELEMENT);
  return new Kind(copy.buffer, 0, length);
}

/** Rows of a feature table, whatever their number. */
export async function readFeatures(clients, name, ids) {
  const request = { name, ids: tensor("DATA_TYPE_INT64", [ids.length], BigInt64Array.from(ids, BigInt)) };
  let header;
  const parts = [];
  for await (const message of stream(clients.FeatureService, "StreamFeatures", request)) {
    header ??= message.header;
    parts.push(message.data);
  }
  return { shape: header.shape, rows: values(header, Buffer.concat(parts)) };
}

/** The minibatches of a request: {epoch, batch, nodes, layers, features}, each array as the wire has it. */
export async function* minibatches(clients, request) {
  let header = null;
  let parts = [];
  let bytes = 0;
  for await (const message of stream(clients.PlanService, "StreamMinibatches", request)) {
    if (message.header) header = message.header;
    if (!header) continue;
    parts.push(message.data);
    bytes += message.data.length;
    if (bytes < header.payload_bytes) continue;
    yield unpacked(header, Buffer.concat(parts));
    [header, parts, bytes] = [null, [], 0];
  }
}

function unpacked(header, payload) {
  const { epoch, batch, seed_type: seedType } = header;
  const nodes = Object.fromEntries(header.nodes.map((one) => [one.node_type, values(one.ids, payload)]));
  const features = Object.fromEntries(
    header.features.map((one) => [one.table, { shape: one.rows.shape, rows: values(one.rows, payload) }]),
  );
  const layers = header.layers.map(({ hop, edge_type: edgeType, indptr, indices }) => ({
    hop,
    edgeType,
    indptr: values(indptr, payload),
    indices: values(indices, payload),
  }));
  return { epoch, batch, seedType, nodes, layers, features };
}
