export * from './staff-caller.js';
