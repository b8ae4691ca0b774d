// The link between this page and the gateway, told in words, and the token it may ask for.

import { byId, mark, put } from "./dom.js";
import { duration } from "./words.js";

const WORDS = { connecting: "connecting…", live: "live", away: "reconnecting…", locked: "token needed" };

export class Link {
  word = "connecting";
  since = Date.now();

  is(word) {
    if (this.word === word) return;
    this.word = word;
    this.since = Date.now();
  }

  get isAway() {
    return this.word === "away";
  }

  /** How long ago the gateway was last seen, if it ever was. */
  seen(state) {
    return state.seen ? `last seen ${duration(Math.max(1, Math.floor((Date.now() - state.seen) / 1000)))} ago` : "no answer yet";
  }

  draw(state) {
    mark(byId("link"), "data-link", this.word);
    mark(document.body, "data-link", this.word);
    put(byId("link-word"), this.isAway ? `${WORDS.away} ${this.seen(state)}` : WORDS[this.word]);
    if (this.isAway && !state.status) {
      put(byId("health-word"), "unreachable");
      put(byId("health-reason"), "No answer yet. The gateway is asked again every few seconds.");
      mark(byId("verdict"), "data-health", "unreachable");
    }
  }

  /** Asks for the token; `again` where one was refused. */
  askToken(again) {
    const [dialog, form, token] = [byId("login"), byId("login-form"), byId("token")];
    if (again) put(byId("login-why"), "The gateway does not accept this token. It is in the file that http.token_file names.");
    return new Promise((done) => {
      form.addEventListener("submit", () => {
        done(token.value.trim());
        token.value = "";
      }, { once: true });
      dialog.addEventListener("cancel", (event) => event.preventDefault());
      dialog.showModal();
    });
  }
}
