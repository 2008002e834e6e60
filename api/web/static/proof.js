// Checks in the browser that the record shown is in the log: RFC 6962 proofs, C2SP checkpoints.

const utf8 = new TextEncoder();

/** Bytes of a hexadecimal text. */
export function fromHex(text) {
  if (!/^([0-9a-f]{2})*$/.test(text)) throw new Error("not hexadecimal");
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

/** Hexadecimal text of bytes. */
export function toHex(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function joined(...parts) {
  const bytes = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

async function sha256(...parts) {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", joined(...parts)));
}

/** The hash of a leaf (RFC 6962, section 2.1). */
export function leafHash(leaf) {
  return sha256(new Uint8Array([0]), utf8.encode(leaf));
}

/** The root that a proof leads to from a leaf, or null where it fits no tree of that size
 * (RFC 9162, section 2.1.3.2). BigInt, because a log may have more than 2^31 leaves. */
export async function rootOf(leaf, index, size, hashes) {
  let node = BigInt(index);
  let last = BigInt(size) - 1n;
  if (node < 0n || node > last) return null;
  let found = leaf;
  for (const sibling of hashes) {
    if (last === 0n || sibling.length !== 32) return null;
    if (node % 2n === 1n || node === last) {
      found = await sha256(new Uint8Array([1]), sibling, found);
      while (node % 2n === 0n && node !== 0n) {
        node >>= 1n;
        last >>= 1n;
      }
    } else {
      found = await sha256(new Uint8Array([1]), found, sibling);
    }
    node >>= 1n;
    last >>= 1n;
  }
  return last === 0n ? found : null;
}

function fromBase64(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

/** Origin, size and root of a checkpoint, with the text that is signed and its signatures. */
export function readNote(note) {
  const cut = note.lastIndexOf("\n\n");
  if (cut < 0) throw new Error("not a signed note");
  const text = note.slice(0, cut + 1);
  const [origin, size, root] = text.split("\n");
  const signatures = note
    .slice(cut + 2)
    .split("\n")
    .filter((line) => line)
    .map((line) => {
      const [dash, name, value] = line.split(" ");
      if (dash !== "\u2014" || !value) throw new Error("not a signature line");
      const bytes = fromBase64(value);
      return { name, id: toHex(bytes.slice(0, 4)), value: bytes.slice(4) };
    });
  if (!/^(0|[1-9][0-9]*)$/.test(size)) throw new Error("not a checkpoint");
  return { origin, size, root: toHex(fromBase64(root)), text, signatures };
}

/** True or false for a signature by one of the keys; null where this browser has no Ed25519. */
export async function isSigned(note, keys) {
  for (const line of keys) {
    const [name, id, ...encoded] = line.split("+");
    const key = fromBase64(encoded.join("+")); // Base64 may hold a plus sign.
    if (key[0] !== 1 || name !== note.origin) continue;
    const named = await sha256(utf8.encode(`${name}\n`), key);
    if (toHex(named.slice(0, 4)) !== id) continue;
    const signature = note.signatures.find((one) => one.name === name && one.id === id);
    if (!signature) continue;
    let imported;
    try {
      imported = await crypto.subtle.importKey("raw", key.slice(1), { name: "Ed25519" }, false, ["verify"]);
    } catch {
      return null;
    }
    return crypto.subtle.verify({ name: "Ed25519" }, imported, signature.value, utf8.encode(note.text));
  }
  return false;
}

/** Whether a leaf commits to a payload: HMAC-SHA256 under the record's salt. */
export async function isCommitted(leaf, payload, salt) {
  const key = await crypto.subtle.importKey("raw", fromHex(salt), { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  const found = new Uint8Array(await crypto.subtle.sign("HMAC", key, utf8.encode(payload)));
  return JSON.parse(leaf).commitment === toHex(found);
}

/** All checks of a record: [passed (null: not checked), what it says] each. */
export async function checked(record) {
  const leaf = await leafHash(record.leaf);
  const note = readNote(record.note);
  const hashes = record.hashes.map(fromHex);
  const root = await rootOf(leaf, record.index, note.size, hashes);
  const signed = await isSigned(note, record.keys);
  const found = [
    [toHex(leaf) === record.leafHash, "the leaf has the hash shown"],
    [JSON.parse(record.leaf).sequence === Number(record.index), "the leaf says that this is its place"],
    [root !== null && toHex(root) === note.root, `the proof leads from the leaf to the root of the checkpoint of ${note.size} records`],
    [signed, signed === null ? "the signature was not checked: this browser has no Ed25519" : "the checkpoint is signed by the log's key"],
  ];
  if (record.payload !== null) {
    found.push([await isCommitted(record.leaf, record.payload, record.salt), "the payload is what the leaf commits to"]);
  }
  return found;
}

async function show(seal) {
  const badge = document.getElementById("verdict");
  const list = document.getElementById("checks");
  const end = (kind, words) => {
    badge.textContent = words;
    badge.className = `badge ${kind}`;
  };
  if (!globalThis.crypto?.subtle) {
    end("abstained", "not checked: this browser checks only over HTTPS or on this machine");
    return;
  }
  let results;
  try {
    results = await checked({
      leaf: document.getElementById("leaf").textContent,
      note: document.getElementById("note").textContent,
      payload: document.getElementById("payload")?.textContent ?? null,
      leafHash: seal.dataset.leafHash,
      index: seal.dataset.index,
      hashes: seal.dataset.hashes.split(" ").filter((hash) => hash),
      keys: seal.dataset.keys.split(" ").filter((key) => key),
      salt: seal.dataset.salt,
    });
  } catch (error) {
    results = [[false, `the proof can't be read: ${error.message}`]];
  }
  for (const [passed, words] of results) {
    const line = document.createElement("li");
    line.textContent = passed === false ? `NOT so: ${words}` : words;
    list.append(line);
  }
  const failed = results.some(([passed]) => passed === false);
  seal.classList.add(failed ? "bad" : "good");
  if (failed) {
    end("contradicted", "does not verify");
  } else if (results.some(([passed]) => passed === null)) {
    end("supported", "verified against checkpoint, signature not checked");
  } else {
    end("supported", "verified against checkpoint");
  }
}

const seal = globalThis.document?.getElementById("seal");
if (seal) await show(seal);
