import { Engine } from "./engine.js";

globalThis.engine = Engine.start();
