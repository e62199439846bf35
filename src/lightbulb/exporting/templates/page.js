
// ---- the page ----

const SHOWN = 5;
const box = document.getElementById("text");

function show() {
  const text = box.value;
  const began = performance.now();
  const { answer, probabilities } = classify(text);
  const milliseconds = performance.now() - began;
  const asked = text.trim() !== "";
  document.getElementById("answer").textContent = asked ? answer : "";
  const likeliest = answers.map((_, number) => number).sort((a, b) => probabilities[b] - probabilities[a] || a - b);
  const lines = likeliest.slice(0, asked ? SHOWN : 0).map((number) => line(answers[number], probabilities[number]));
  document.getElementById("likely").replaceChildren(...lines);
  document.getElementById("time").textContent = asked ? `Answered here in ${milliseconds.toFixed(2)} ms.` : "";
}

function line(answer, probability) {
  const item = document.createElement("li"), name = document.createElement("span"), share = document.createElement("span");
  const bar = document.createElement("progress");
  name.textContent = answer;
  share.textContent = `${(100 * probability).toFixed(1)}%`;
  bar.value = probability;
  bar.setAttribute("aria-label", answer);
  item.append(name, share, bar);
  return item;
}

box.addEventListener("input", show);
globalThis.model = { answers, score, classify }; // for the console
show();
