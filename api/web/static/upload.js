// Uploads documents without leaving the page, and follows the job that takes them in.

const form = document.getElementById("upload");
const input = document.getElementById("files");
const jobs = document.getElementById("jobs");
const button = form.querySelector("button");

const STATES = { queued: "Waiting", running: "Taking in", done: "Done", failed: "Failed" };

function count(number, noun) {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

function newRow() {
  const row = document.getElementById("job-row").content.firstElementChild.cloneNode(true);
  jobs.prepend(row);
  return row;
}

function say(row, state, told) {
  row.querySelector(".state").textContent = state;
  row.querySelector(".told").textContent = told;
}

function fail(row, reason) {
  say(row, "Failed", "");
  row.querySelector("progress").hidden = true;
  addFailure(row, null, reason);
}

function addFailure(row, path, reason) {
  const line = document.createElement("p");
  line.className = "guard";
  if (path !== null) {
    const name = document.createElement("code");
    name.dir = "auto";
    name.textContent = path;
    line.append(name, ": ");
  }
  const words = document.createElement("span");
  words.dir = "auto";
  words.textContent = reason;
  line.append(words);
  row.querySelector(".failures").append(line);
}

function showJob(row, job) {
  const { done, total, added, updated, unchanged, failed } = job.progress;
  say(row, STATES[job.state], `${done} of ${count(total, "document")}: ${added} added, ${updated} new versions, ${unchanged} unchanged, ${failed.length} failed`);
  const bar = row.querySelector("progress");
  bar.max = Math.max(1, total);
  bar.value = job.state === "done" ? bar.max : done;
  row.querySelector(".failures").replaceChildren();
  if (job.error) addFailure(row, null, job.error);
  for (const { path, reason } of failed) addFailure(row, path, reason);
}

function follow(row, id) {
  const events = new EventSource(`/v1/jobs/${encodeURIComponent(id)}/events`);
  events.addEventListener("progress", (event) => showJob(row, JSON.parse(event.data)));
  for (const kind of ["done", "failed"]) {
    events.addEventListener(kind, (event) => {
      events.close();
      showJob(row, JSON.parse(event.data));
      row.querySelector("progress").hidden = true;
      htmx.ajax("GET", form.dataset.page, { target: "#documents", swap: "innerHTML" });
    });
  }
}

function send(files) {
  const row = newRow();
  const request = new XMLHttpRequest(); // fetch() tells nothing of how far an upload is.
  const body = new FormData();
  for (const file of files) body.append("files", file, file.webkitRelativePath || file.name);
  say(row, "Sending", count(files.length, "file"));
  request.open("POST", form.dataset.api);
  request.responseType = "json";
  request.upload.addEventListener("progress", (event) => {
    const bar = row.querySelector("progress");
    bar.max = event.total || 1;
    bar.value = event.loaded;
  });
  request.addEventListener("error", () => fail(row, "the server can't be reached; check that it runs, then try again"));
  request.addEventListener("load", () => {
    if (request.status === 202) {
      showJob(row, request.response);
      follow(row, request.response.id);
    } else {
      fail(row, request.response?.detail ?? `the server answered ${request.status}`);
    }
  });
  request.addEventListener("loadend", () => {
    button.disabled = false;
    input.value = "";
  });
  button.disabled = true;
  request.send(body);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (input.files.length) send([...input.files]);
});
form.addEventListener("dragover", (event) => {
  event.preventDefault();
  form.classList.add("over");
});
form.addEventListener("dragleave", () => form.classList.remove("over"));
form.addEventListener("drop", (event) => {
  event.preventDefault();
  form.classList.remove("over");
  if (event.dataTransfer.files.length) send([...event.dataTransfer.files]);
});

// What was under way when the page was opened goes on being told.
for (const old of jobs.querySelectorAll("[data-job]")) {
  const id = old.dataset.job;
  const row = newRow();
  old.replaceWith(row);
  follow(row, id);
}
