// Which view is in front on a narrow screen, which list below the graph on a wide one; the theme; keys for all of it.

const THEMES = ["auto", "light", "dark"];
const SIGNS = { auto: "◐", light: "○", dark: "●" };
const THEME = "orchestrator.theme";
const LISTS = ["tasks", "log", "chat"];

export class Views {
  #board;
  #onChange;

  /** `onChange(view)` after another view was chosen. */
  constructor(board, onChange) {
    this.#board = board;
    this.#onChange = onChange;
    board.dataset.lower = "tasks";
    for (const button of document.querySelectorAll("button[data-view]")) button.addEventListener("click", () => this.show(button.dataset.view));
    this.#mark();
  }

  show(view) {
    this.#board.dataset.view = view;
    if (LISTS.includes(view)) this.#board.dataset.lower = view;
    this.#mark();
    this.#onChange(view);
  }

  visible(view) {
    return document.getElementById(view).offsetParent !== null;
  }

  #mark() {
    for (const [bar, current] of [["bottom-tabs", this.#board.dataset.view], ["lower-tabs", this.#board.dataset.lower]]) {
      for (const button of document.querySelectorAll(`#${bar} button`)) {
        if (button.dataset.view === current) button.setAttribute("aria-current", "page");
        else button.removeAttribute("aria-current");
      }
    }
  }
}

/** `then()` after the colours have changed, by hand or with the system's. */
export function themes(button, then) {
  const show = (theme) => {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    button.textContent = `${SIGNS[theme]} ${theme}`;
    button.setAttribute("aria-label", `theme: ${theme === "auto" ? "as the system" : theme}`);
    then();
  };
  const kept = localStorage.getItem(THEME);
  let theme = THEMES.includes(kept) ? kept : "auto";
  button.addEventListener("click", () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    localStorage.setItem(THEME, theme);
    show(theme);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => show(theme));
  show(theme);
}

/** `/` goes to the filter of what is in sight, Esc closes what is open, or leaves a field. */
export function keys(close) {
  addEventListener("keydown", (event) => {
    const typing = event.target.matches?.("input, textarea, select");
    if (event.key === "Escape") {
      if (!close() && typing) event.target.blur();
    } else if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      const around = event.target.closest?.(".view")?.querySelector(".filter");
      const lists = [around, ...["#tasks", "#log", "#agents"].map((each) => document.querySelector(`${each} .filter`))];
      const filter = lists.find((each) => each && each.offsetParent !== null);
      if (!filter) return;
      event.preventDefault();
      filter.focus();
      filter.select();
    }
  });
}
