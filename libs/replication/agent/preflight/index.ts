export { runPreflight, surveil, type Baseline, type PreflightQuestion } from './preflight.js';
