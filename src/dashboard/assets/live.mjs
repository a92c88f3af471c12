// Refreshing: again and again while the page is seen and not paused, and at once when it is asked for.

/** What could not be read is asked for again no later than this, in milliseconds: it may be back. */
const AGAIN = 10_000;

/** The one view that is refreshed. */
export class Live {
  constructor(onChange) {
    this.onChange = onChange;
    this.isPaused = false;
    this.hasFailed = false;
    this.view = null;
    this.timer = null;
    this.abort = null;
    this.last = null;
    document.addEventListener("visibilitychange", () => this.wake());
  }

  /** Refreshes this view from now on, and the one before no more. */
  async show(view) {
    this.stop();
    this.view = view;
    await this.now();
  }

  stop() {
    clearTimeout(this.timer);
    this.abort?.abort();
    this.view = null;
  }

  pause(isPaused) {
    this.isPaused = isPaused;
    if (isPaused) clearTimeout(this.timer);
    else this.now();
    this.onChange(this);
  }

  /** One refresh, at once. */
  async now() {
    const view = this.view;
    if (view === null) return;
    clearTimeout(this.timer);
    this.abort?.abort();
    const abort = new AbortController();
    this.abort = abort;
    try {
      await view.refresh(abort.signal);
      this.last = Date.now();
      this.hasFailed = false;
      if (this.view === view) view.failed(null);
    } catch (error) {
      if (error.name === "AbortError" || this.view !== view || this.abort !== abort) return;
      this.hasFailed = true;
      view.failed(error);
    }
    if (this.view !== view || this.abort !== abort) return;
    this.onChange(this);
    this.wait();
  }

  wait() {
    clearTimeout(this.timer);
    if (this.view === null || this.isPaused || document.hidden || !(this.view.every > 0)) return;
    const every = this.hasFailed ? Math.min(this.view.every, AGAIN) : this.view.every;
    this.timer = setTimeout(() => this.now(), every);
  }

  /** The page is seen again, or is not. */
  wake() {
    if (document.hidden) clearTimeout(this.timer);
    else if (!this.isPaused) this.now();
  }
}
