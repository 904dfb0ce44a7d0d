/** Dialogs: the browser's own, with its keys and its focus. */
import { useEffect, useRef } from "preact/hooks";
import { html } from "./parts.js";

/** Shown while it is there; `onClose` is called when it is left in any way. */
export function Dialog({ title, onClose, children }) {
  const dialog = useRef();
  useEffect(() => {
    const { current } = dialog;
    current.showModal();
    return () => current.close();
  }, []);
  return html`<dialog ref=${dialog} aria-labelledby="dialog-title" onClose=${onClose}>
    <h2 id="dialog-title">${title}</h2>
    ${children}
  </dialog>`;
}
