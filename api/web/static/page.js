// What every page does beside showing itself: Enter asks, Escape hides notes, errors are told.

document.addEventListener("keydown", (event) => {
  const field = event.target;
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing && field.matches?.("[data-enter-submits]")) {
    event.preventDefault();
    field.form.requestSubmit();
  }
  if (event.key === "Escape") {
    document.body.classList.add("tips-off");
  }
});
for (const kind of ["focusin", "mouseover"]) {
  document.addEventListener(kind, (event) => {
    if (event.target.closest?.(".run")) {
      document.body.classList.remove("tips-off");
    }
  });
}

function tell(target, title, detail) {
  const box = document.createElement("div");
  box.className = "error";
  box.setAttribute("role", "alert");
  const heading = document.createElement("h2");
  heading.textContent = title;
  const line = document.createElement("p");
  line.textContent = detail;
  box.append(heading, line);
  target.replaceChildren(box);
}

// An answer that is not a part of a page is a problem document, and never put in as markup.
document.addEventListener("htmx:beforeSwap", (event) => {
  const response = event.detail.xhr;
  if (!(response.getResponseHeader("Content-Type") ?? "").startsWith("text/html")) {
    event.detail.shouldSwap = false;
    let detail = `the server answered ${response.status}`;
    try {
      detail = JSON.parse(response.responseText).detail ?? detail;
    } catch {
      // Then its status is all there is to say.
    }
    tell(event.detail.target, "It failed", detail);
  }
});
document.addEventListener("htmx:sendError", (event) => {
  tell(event.detail.target, "The server can't be reached", "Check that it runs, then try again.");
});
