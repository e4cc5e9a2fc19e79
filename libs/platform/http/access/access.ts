import { applyDecorators, SetMetadata } from '@nestjs/common';
import { ApiSecurity } from '@nestjs/swagger';

/** Who may call a route. A route that does not say is refused: the start fails on it (see `checkAccess`). */
export const ACCESS_KINDS = ['public', 'tenant', 'staff', 'agent'] as const;
export type AccessKind = (typeof ACCESS_KINDS)[number];

export const ACCESS = Symbol('mainstay access');

/** The OpenAPI security schemes that fit each kind of access. */
const SCHEMES: Readonly<Record<AccessKind, readonly string[]>> = {
  public: [],
  tenant: ['apiKey', 'session'],
  staff: ['staffSession'],
  agent: ['agentSignature'],
};

/** Says who may call a route; the guard of that kind of caller looks for it. */
export function Access(kind: AccessKind): MethodDecorator & ClassDecorator {
  return applyDecorators(SetMetadata(ACCESS, kind), ...SCHEMES[kind].map((scheme) => ApiSecurity(scheme)));
}

/** Anybody may call this route. */
export const Public = (): MethodDecorator & ClassDecorator => Access('public');
