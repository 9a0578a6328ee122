// Two made-up scans, so that the client runs without a patient: lung-like texture with a tumor, and the same moved, with
// an ablation zone. A real client sends what the scanner or the navigation system has.

const SHAPE_ZYX = [64, 72, 72];
const SPACING_ZYX_MM = [1.5, 1.25, 1.25];
const MOVED_MM = { x: 2.5, y: -1.25, z: 3.0 };
const TUMOR_MM = { x: 44, y: 46, z: 47 };

/** Numbers between 0 and 1 that are the same in every run. */
function* numbers(seed) {
  for (let state = seed; ; ) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    yield state / 2 ** 32;
  }
}

function makeTexture() {
  const random = numbers(7);
  const next = () => random.next().value;
  const waves = Array.from({ length: 60 }, () => {
    const wavelength = 7 + 28 * next();
    const cosine = 2 * next() - 1;
    const angle = 2 * Math.PI * next();
    const sine = Math.sqrt(1 - cosine * cosine);
    const k = (2 * Math.PI) / wavelength;
    return { x: k * sine * Math.cos(angle), y: k * sine * Math.sin(angle), z: k * cosine, phase: 2 * Math.PI * next() };
  });
  return (x, y, z) => {
    let sum = 0;
    for (const wave of waves) sum += Math.cos(wave.x * x + wave.y * y + wave.z * z + wave.phase);
    return -820 + 18 * sum;
  };
}

function paint(value) {
  const [nz, ny, nx] = SHAPE_ZYX;
  const [sz, sy, sx] = SPACING_ZYX_MM;
  const voxels = new Int16Array(nz * ny * nx);
  let index = 0;
  for (let z = 0; z < nz; z++)
    for (let y = 0; y < ny; y++)
      for (let x = 0; x < nx; x++) voxels[index++] = Math.round(value(x * sx, y * sy, z * sz));
  return voxels;
}

const ball = (center, radius) => (x, y, z) => Math.hypot(x - center.x, y - center.y, z - center.z) <= radius;

/** What a procedure sends: two CTs in HU, a tumor mask on the first and a zone mask on the second. */
export function makeScans() {
  const texture = makeTexture();
  const tumor = ball(TUMOR_MM, 7);
  const zone = ball({ x: TUMOR_MM.x + MOVED_MM.x + 2, y: TUMOR_MM.y + MOVED_MM.y, z: TUMOR_MM.z + MOVED_MM.z }, 11);
  const before = (x, y, z) => (tumor(x, y, z) ? 30 : texture(x, y, z));
  const after = (x, y, z) =>
    zone(x, y, z) ? -40 : texture(x - MOVED_MM.x, y - MOVED_MM.y, z - MOVED_MM.z);
  const mask = (inside) => Uint8Array.from(paint((x, y, z) => (inside(x, y, z) ? 1 : 0)));
  return {
    geometry: {
      shape_zyx: SHAPE_ZYX,
      spacing_zyx_mm: SPACING_ZYX_MM,
      directions_zyx_lps: [0, 0, 1, 0, 1, 0, 1, 0, 0],
      origin_lps_mm: { x: 0, y: 0, z: 0 },
    },
    planning: paint(before),
    tumor: mask(tumor),
    verification: paint(after),
    zone: mask(zone),
  };
}
