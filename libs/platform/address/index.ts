export { plainAddress, sourceOf } from './source.js';
