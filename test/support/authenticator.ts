export { authenticatorCode } from '../../apps/stack/authenticator.js';
