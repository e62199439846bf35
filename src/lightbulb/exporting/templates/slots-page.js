
// ---- the page ----

const box = document.getElementById("text");

function show() {
  const text = box.value;
  const began = performance.now();
  const { answer, probability } = fill(text);
  const milliseconds = performance.now() - began;
  const asked = text.trim() !== "";
  document.getElementById("answer").textContent = asked ? answer : "";
  const line = document.createElement("li");
  line.textContent = `right with a probability of ${(100 * probability).toFixed(1)}%`;
  document.getElementById("likely").replaceChildren(...(asked ? [line] : []));
  document.getElementById("time").textContent = asked ? `Answered here in ${milliseconds.toFixed(2)} ms.` : "";
}

box.addEventListener("input", show);
globalThis.model = { fill }; // for the console
show();
