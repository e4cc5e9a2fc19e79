import type { Provider } from '@nestjs/common';
import type { OrderContract } from '#contracts/sites';
import type { JobContract } from '#libs/platform/queue';

// What looks after the recovery points once they are there: proof, retention, checks, mass changes, second copies.

export const CARE_PROVIDERS: readonly Provider[] = [];
export const CARE_ORDERS: readonly OrderContract<never>[] = [];
export const CARE_JOBS: readonly JobContract<never>[] = [];
