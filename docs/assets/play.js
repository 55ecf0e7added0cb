// Twelve samples, cut into batches whose boundaries one drags. Drawn beside the cut: the share with which
// each sample enters the mean of the batch means, and the share 1/12 that it has in the mean.
const LOSSES = [0.4, 0.9, 0.5, 1.1, 0.6, 0.8, 0.7, 1.0, 0.5, 0.9, 0.6, 4.0];
const WIDTH = 640, HEIGHT = 330, LEFT = 20, COLUMN = (WIDTH - 2 * LEFT) / LOSSES.length;
const LOSS_FLOOR = 150, SHARE_FLOOR = 300, LOSS_SCALE = 28, SHARE_SCALE = 330;
const SVG = "http://www.w3.org/2000/svg";

const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

// The batches between the boundaries: lists of the samples' indices.
function batches(cuts) {
  const ends = [0, ...cuts, LOSSES.length];
  return ends.slice(1).map((end, i) => LOSSES.map((_, k) => k).slice(ends[i], end));
}

// What the cut makes of the losses: the mean of batch means, the mean, and each sample's share in the first.
function numbers(cuts) {
  const parts = batches(cuts);
  return {
    usual: mean(parts.map((part) => mean(part.map((k) => LOSSES[k])))),
    exact: mean(LOSSES),
    shares: parts.flatMap((part) => part.map(() => 1 / parts.length / part.length)),
  };
}

function element(name, attributes, text) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

class Play {
  constructor(root) {
    this.root = root;
    this.svg = root.querySelector("svg");
    this.cuts = [5, 10];
    this.svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    for (const button of root.querySelectorAll("button[data-cuts]"))
      button.addEventListener("click", () => this.show(JSON.parse(button.dataset.cuts)));
    this.svg.addEventListener("pointermove", (event) => this.drag(event));
    for (const end of ["pointerup", "pointercancel"])
      this.svg.addEventListener(end, () => { this.held = undefined; });
    this.show(this.cuts);
  }

  // Move one boundary, at least one sample away from its neighbours.
  move(index, to) {
    const low = index === 0 ? 1 : this.cuts[index - 1] + 1;
    const high = index === this.cuts.length - 1 ? LOSSES.length - 1 : this.cuts[index + 1] - 1;
    const cuts = [...this.cuts];
    cuts[index] = Math.min(high, Math.max(low, to));
    this.show(cuts);
  }

  drag(event) {
    if (this.held === undefined) return;
    const box = this.svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * WIDTH;
    this.move(this.held, Math.round((x - LEFT) / COLUMN));
  }

  show(cuts) {
    const focused = this.svg.contains(document.activeElement) ? document.activeElement.dataset.index : undefined;
    this.cuts = cuts;
    const { usual, exact, shares } = numbers(cuts);
    this.svg.replaceChildren(...this.bars(shares), ...this.boundaries());
    this.root.querySelector("output.usual").textContent = usual.toFixed(4);
    this.root.querySelector("output.exact").textContent = exact.toFixed(4);
    this.root.querySelector("output.sizes").textContent = batches(cuts).map((part) => part.length).join(" + ");
    if (focused !== undefined) this.svg.querySelector(`[data-index="${focused}"]`)?.focus();
  }

  bars(shares) {
    const even = 1 / LOSSES.length;
    const bar = (k, floor, height, kind) => element("rect", {
      x: LEFT + k * COLUMN + 4, y: floor - height, width: COLUMN - 8, height, class: kind,
    });
    const level = SHARE_FLOOR - even * SHARE_SCALE;
    return [
      element("text", { x: LEFT, y: 14 }, "the loss of each sample"),
      ...LOSSES.map((loss, k) => bar(k, LOSS_FLOOR, loss * LOSS_SCALE, loss > 2 ? "sample odd" : "sample")),
      element("text", { x: LEFT, y: 178 }, "its share in the mean of batch means; the line is 1/12"),
      ...shares.map((share, k) =>
        bar(k, SHARE_FLOOR, share * SHARE_SCALE, Math.abs(share - even) < 1e-12 ? "share" : "share wrong")),
      element("line", { x1: LEFT, x2: WIDTH - LEFT, y1: level, y2: level, class: "edge" }),
    ];
  }

  boundaries() {
    return this.cuts.flatMap((cut, index) => {
      const x = LEFT + cut * COLUMN;
      const handle = element("circle", {
        cx: x, cy: HEIGHT - 14, r: 9, class: "handle", tabindex: 0, role: "slider", "data-index": index,
        "aria-label": `boundary ${index + 1}`, "aria-valuemin": 1, "aria-valuemax": LOSSES.length - 1, "aria-valuenow": cut,
      });
      handle.addEventListener("pointerdown", (event) => {
        this.held = index;
        this.svg.setPointerCapture(event.pointerId);
      });
      handle.addEventListener("keydown", (event) => {
        const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
        if (by) { event.preventDefault(); this.move(index, cut + by); }
      });
      const line = (y1, y2) => element("line", { x1: x, x2: x, y1, y2, class: "edge" });
      return [line(20, LOSS_FLOOR + 10), line(186, HEIGHT - 22), handle];
    });
  }
}

for (const root of document.querySelectorAll("#cut-play")) new Play(root);
