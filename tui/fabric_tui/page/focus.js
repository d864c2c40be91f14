// Keys go to the terminal without a click into it first. textual.js has made it when this runs.
window.addEventListener("load", () => document.querySelector(".xterm-helper-textarea").focus());
