export * from './clock.js';
export * from './turns.js';
export * from './wait.js';
