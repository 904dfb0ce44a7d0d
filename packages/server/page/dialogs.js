/** Dialogs: the browser's own, with its keys and its focus. */
import { useEffect, useRef } from "preact/hooks";
import { html } from "./parts.js";

/** Shown while it is there; `onClose` is called when it is left in any way. */
export function Dialog({ title, onClose, children }) {
  const dialog = useRef();
  const isGone = useRef(false);
  useEffect(() => {
    const { current } = dialog;
    const opener = document.activeElement;
    current.showModal();
    return () => {
      // Its event of closing comes later, when another dialog may be there already.
      isGone.current = true;
      current.close();
      // A user of the keyboard goes on where the dialog was opened.
      opener?.focus?.();
    };
  }, []);
  return html`<dialog ref=${dialog} aria-labelledby="dialog-title" onClose=${() => isGone.current || onClose()}>
    <h2 id="dialog-title">${title}</h2>
    ${children}
  </dialog>`;
}
