// Keeps a departure board on a page up to date without drawing rows that did not change.

export class Board {
  #rows = new Map();

  constructor(table, clock = () => new Date()) {
    this.table = table;
    this.clock = clock;
  }

  show(departures) {
    const wanted = new Set(departures.map((each) => each.id));
    for (const [id, row] of this.#rows) {
      if (!wanted.has(id)) {
        row.remove();
        this.#rows.delete(id);
      }
    }
    for (const departure of departures) {
      const text = this.#describe(departure);
      let row = this.#rows.get(departure.id);
      if (row === undefined) {
        row = this.table.insertRow();
        this.#rows.set(departure.id, row);
      }
      if (row.textContent !== text) {
        row.textContent = text;
      }
    }
  }

  #describe({ line, to, minute }) {
    const now = this.clock();
    const wait = minute - (now.getHours() * 60 + now.getMinutes());
    return wait <= 0 ? `${line} ${to} now` : `${line} ${to} in ${wait} min`;
  }
}
