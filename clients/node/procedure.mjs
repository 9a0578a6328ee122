// A whole procedure on a Coldspot service, from its .proto files alone. Research software, not a medical device.
//
//   npm ci
//   node procedure.mjs 127.0.0.1:50051
//   node procedure.mjs host:50051 --ca ca.pem --certificate client.pem --key client-key.pem --token-file token

import { createHash, randomUUID } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";
import protobuf from "protobufjs";
import { makeScans } from "./scans.mjs";

const PROTO = fileURLToPath(new URL("../../proto/", import.meta.url));
const CHUNK_BYTES = 512 * 1024;
const CALL_S = 60;
const ATTEMPTS = 5;

const rich = protobuf.parse(`syntax = "proto3"; package google.rpc;
  message Any { string type_url = 1; bytes value = 2; }
  message Status { int32 code = 1; string message = 2; repeated Any details = 3; }
  message ErrorInfo { string reason = 1; string domain = 2; }
  message Duration { int64 seconds = 1; int32 nanos = 2; }
  message RetryInfo { Duration retry_delay = 1; }`, { keepCase: true }).root;

/** Reason and waiting time in the details of a failed call. */
function detailsOf(error) {
  const [packed] = error.metadata?.get("grpc-status-details-bin") ?? [];
  const told = { reason: "", waitS: undefined };
  if (!packed) return told;
  for (const detail of rich.lookupType("google.rpc.Status").decode(packed).details) {
    const name = detail.type_url.split("/").pop();
    if (name === "google.rpc.ErrorInfo") told.reason = rich.lookupType(name).decode(detail.value).reason;
    if (name === "google.rpc.RetryInfo") {
      const { seconds, nanos } = rich.lookupType(name).decode(detail.value).retry_delay;
      told.waitS = Number(seconds) + nanos / 1e9;
    }
  }
  return told;
}

/** Do something again as long as the service is full, waiting as it asks to. */
async function patiently(attempt) {
  for (let left = ATTEMPTS; ; left--) {
    try {
      return await attempt();
    } catch (error) {
      const { waitS } = detailsOf(error);
      if (error.code !== grpc.status.RESOURCE_EXHAUSTED || waitS === undefined || left === 0) throw error;
      console.log(`the service is full; again in ${waitS} s`);
      await sleep(waitS * 1000);
    }
  }
}

const deadline = () => ({ deadline: new Date(Date.now() + CALL_S * 1000) });

function connect(address, options) {
  const read = (path) => (path ? readFileSync(path) : null);
  const credentials = options.ca
    ? grpc.credentials.createSsl(read(options.ca), read(options.key), read(options.certificate))
    : grpc.credentials.createInsecure();
  const definition = loader.loadSync(["coldspot/v1/service.proto"], {
    includeDirs: [PROTO],
    keepCase: true,
    longs: Number,
    enums: String,
    bytes: Buffer,
  });
  const { ColdspotService } = grpc.loadPackageDefinition(definition).coldspot.v1;
  return new ColdspotService(address, credentials);
}

/** The calls of the service as functions that return promises. */
function callsOf(service, metadata) {
  const unary = (method) => (request) =>
    patiently(
      () =>
        new Promise((resolve, reject) =>
          service[method](request, metadata, deadline(), (error, answer) => (error ? reject(error) : resolve(answer))),
        ),
    );
  const streamed = (method) => (request, onEvent) =>
    patiently(async () => {
      for await (const event of service[method](request, metadata, deadline())) onEvent(event);
    });
  const upload = (header, bytes) =>
    patiently(
      () =>
        new Promise((resolve, reject) => {
          const call = service.UploadSeries(metadata, deadline(), (error, answer) =>
            error ? reject(error) : resolve(answer),
          );
          call.on("error", reject);
          call.write({ header });
          for (let start = 0; start < bytes.length; start += CHUNK_BYTES)
            call.write({ chunk: bytes.subarray(start, start + CHUNK_BYTES) });
          call.end();
        }),
    );
  return { unary, streamed, upload };
}

async function run(address, options) {
  const service = connect(address, options);
  const metadata = new grpc.Metadata();
  if (options["token-file"])
    metadata.set("authorization", `Bearer ${readFileSync(options["token-file"], "utf-8").trim()}`);
  const { unary, streamed, upload } = callsOf(service, metadata);

  const info = await unary("GetServerInfo")({});
  console.log(`Coldspot ${info.version}${info.mock ? ", mock answers" : ""}. ${info.disclaimer}`);

  const { case_id } = await unary("OpenCase")({ request_id: randomUUID() });
  const scans = makeScans();
  const send = (role, voxels, reference_series_id = "") => {
    const bytes = Buffer.from(voxels.buffer, voxels.byteOffset, voxels.byteLength);
    const header = {
      case_id,
      role,
      total_bytes: bytes.length,
      sha256: createHash("sha256").update(bytes).digest(),
      voxels: { geometry: scans.geometry },
      reference_series_id,
    };
    return upload(header, bytes);
  };

  const planning = await send("SERIES_ROLE_PLANNING_CT", scans.planning);
  await send("SERIES_ROLE_TUMOR_MASK", scans.tumor, planning.series_id);
  await streamed("Prepare")({ case_id }, ({ stage, prepared }) => {
    if (stage?.state === "STAGE_STATE_FINISHED") console.log(`  ${stage.stage} ${stage.duration_s.toFixed(2)} s`);
    if (prepared?.refusal) throw new Error(`refused: ${prepared.refusal.reason}`);
  });

  const verification = await send("SERIES_ROLE_VERIFICATION_CT", scans.verification);
  await send("SERIES_ROLE_ABLATION_ZONE_MASK", scans.zone, verification.series_id);
  let answer;
  await streamed("Assess")({ case_id }, ({ stage, preliminary, final }) => {
    if (stage?.state === "STAGE_STATE_FINISHED") console.log(`  ${stage.stage} ${stage.duration_s.toFixed(2)} s`);
    if (preliminary) console.log(`PRELIMINARY, not for decision: ${preliminary.summary}`);
    if (final) answer = final;
  });
  for (const warning of answer.warnings) console.log(`warning: ${warning}`);
  if (answer.refusal) console.log(`NO NUMBER (${answer.refusal.code}): ${answer.refusal.reason}`);
  else console.log(`TCR ${answer.coverage.tcr.toFixed(3)}, minimal margin ${answer.margin.minimal_mm.toFixed(1)} mm`);
  console.log(answer.summary);

  if (!answer.refusal) {
    const parts = [];
    const { assessment_id } = answer.provenance;
    await streamed("FetchArtifact")({ case_id, assessment_id, name: "sheet.png" }, ({ chunk }) => parts.push(chunk));
    writeFileSync(options.out, Buffer.concat(parts));
    console.log(options.out);
  }
  await unary("DeleteCase")({ case_id });
  service.close();
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    ca: { type: "string" },
    certificate: { type: "string" },
    key: { type: "string" },
    "token-file": { type: "string" },
    out: { type: "string", default: "sheet.png" },
  },
});
try {
  await run(positionals[0] ?? "127.0.0.1:50051", values);
} catch (error) {
  const { reason } = detailsOf(error);
  console.error(`failed${reason ? ` (${reason})` : ""}: ${error.details ?? error.message}`);
  process.exitCode = 1;
}
