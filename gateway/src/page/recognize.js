// Sends a photo to the service, and says what its errors mean for the user.

/** What to do about an error, by its code. */
const ADVICE = {
  bad_request: ["The upload was not understood", "Choose the photo again."],
  bad_file_name: ["The file name cannot be used", "Rename the file: no path, colon or quote, at most 255 bytes."],
  no_key: ["An API key is needed", "Give the key above; the photo is then sent again."],
  key_lacks_role: ["This key may not recognize photos", "Ask the operator for a key with the role recognize."],
  upload_too_slow: ["The upload took too long", "Try a smaller photo or a faster network."],
  too_large: ["The file is too large", "Save the photo smaller or with stronger compression, then send it again."],
  too_many_pixels: ["The photo has too many pixels", "Save it at a lower resolution, then send it again."],
  not_an_image: ["This is not a photo", "JPEG, PNG and WebP work. Convert other formats, such as HEIC, first."],
  damaged_image: ["The photo is damaged", "Open it in another program and save it again."],
  no_face: ["No face was found", "Try a photo on which a face is larger, sharper and seen from the front."],
  key_used_too_often: ["This key is used too often", "Wait a moment, then send it again."],
  overloaded: ["The service is full", "It refuses early instead of keeping you waiting. Send it again in a moment."],
  internal: ["The service failed", "Send it again. If that fails too, give the operator the request id."],
  unavailable: ["The service cannot be reached", "A part of it restarts or is down. Send it again in a few seconds."],
  photo_vanished: ["The stored photo was deleted", "Somebody removed it before a worker read it. Send it again."],
  deadline_exceeded: ["No worker answered in time", "See below whether workers start, then send it again."],
};
const UNKNOWN = ["The photo was not recognized", "Send it again. If that fails too, give the operator the request id."];

/**
 * Sends a photo. Returns {recognition, seconds} or {error: {code, title, message, advice, requestId}}.
 * Rejects only when `signal` aborts it.
 */
export async function recognize(file, key, signal) {
  const body = new FormData();
  body.append("inputFile", file, file.name);
  const headers = { accept: "application/json" };
  if (key) headers["x-api-key"] = key;
  const began = performance.now();
  let response;
  let answer;
  try {
    response = await fetch("/", { method: "POST", body, headers, signal });
    answer = await response.json().catch(() => null);
  } catch (cause) {
    if (signal.aborted) throw cause;
    return failure({ code: "unreachable", message: "No answer came: the gateway restarts, or the network is down." },
      ["The gateway cannot be reached", "The page reconnects by itself. Send the photo again when it says Live."]);
  }
  if (response.ok && answer) return { recognition: answer, seconds: (performance.now() - began) / 1000 };
  const error = answer?.error ?? { code: "", message: `The service answered ${response.status}.` };
  error.request_id ??= response.headers.get("x-request-id") ?? "";
  return failure(error, ADVICE[error.code] ?? UNKNOWN, response.headers.get("retry-after"));
}

function failure(error, [title, advice], retryAfter = null) {
  const when = Number(retryAfter) > 0 ? ` Wait at least ${retryAfter} s.` : "";
  return { error: { code: error.code, title, message: error.message, advice: advice + when, requestId: error.request_id ?? "" } };
}
