import { Injectable, SetMetadata } from '@nestjs/common';
import type { JobContract, JobHandler } from './job-contract.js';

export const HANDLES = Symbol('mainstay job contract');

type HandlerClass<P> = new (...dependencies: never[]) => JobHandler<P>;

/** Marks an injectable class as the one handler of a job contract. */
export function Handles<P>(contract: JobContract<P>): <C extends HandlerClass<P>>(target: C) => void {
  return (target) => {
    SetMetadata(HANDLES, contract)(target);
    Injectable()(target);
  };
}
