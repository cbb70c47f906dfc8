// The worker: a session (session.js), and messages in and out.

import { Session } from "./session.js";

const session = new Session((message, transfer) => postMessage(message, transfer));
onmessage = ({ data }) => session.receive(data);
