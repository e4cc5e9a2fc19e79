export * from './clock.js';
export * from './wait.js';
