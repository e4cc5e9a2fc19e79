import {
  type CallHandler,
  type ExecutionContext,
  Injectable,
  type NestInterceptor,
  type OnApplicationBootstrap,
} from '@nestjs/common';
import { DiscoveryService, MetadataScanner, Reflector } from '@nestjs/core';
import type { FastifyRequest } from 'fastify';
import type { Observable } from 'rxjs';
import { DomainError } from '#libs/platform/errors';
import { addToLogContext } from '#libs/platform/telemetry';
import { ACCESS, type AccessKind } from './access.js';

export class NotSignedInError extends DomainError {
  constructor(text = 'Sign in, or send a valid API key: Authorization: Bearer …') {
    super('unauthenticated', 'caller.unknown', text);
  }
}

/** A route that does not say who may call it: the start fails. */
export class AccessUndeclaredError extends Error {
  constructor(routes: readonly string[]) {
    super(`these routes do not say who may call them: ${routes.join(', ')}`);
    this.name = 'AccessUndeclaredError';
  }
}

/** Nest's own mark of a route, see PATH_METADATA in @nestjs/common. */
const PATH_METADATA = 'path';

/** Fails the start when a route lacks an access declaration: what nobody thought of stays shut. */
@Injectable()
export class AccessCheck implements OnApplicationBootstrap {
  constructor(
    private readonly discovery: DiscoveryService,
    private readonly scanner: MetadataScanner,
    private readonly reflector: Reflector,
  ) {}

  onApplicationBootstrap(): void {
    const open = this.discovery.getControllers().flatMap(({ instance, metatype }) => {
      if (typeof metatype !== 'function' || !instance) return [];
      const prototype = Object.getPrototypeOf(instance) as Record<string, () => unknown>;
      return this.scanner
        .getAllMethodNames(prototype)
        .filter((name) => {
          const handler = prototype[name];
          if (!handler || !Reflect.hasMetadata(PATH_METADATA, handler)) return false;
          return (
            this.reflector.getAllAndOverride<AccessKind | undefined>(ACCESS, [handler, metatype as () => unknown]) ===
            undefined
          );
        })
        .map((name) => `${metatype.name}.${name}`);
    });
    if (open.length > 0) throw new AccessUndeclaredError(open);
  }
}

/** The last wall: a route that is not public runs only for a caller whom a guard has named. */
@Injectable()
export class AccessInterceptor implements NestInterceptor {
  constructor(private readonly reflector: Reflector) {}

  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const kind = this.reflector.getAllAndOverride<AccessKind | undefined>(ACCESS, [
      context.getHandler(),
      context.getClass(),
    ]);
    const request = context.switchToHttp().getRequest<FastifyRequest>();
    if (kind !== 'public' && !request.principal) throw new NotSignedInError();
    const tenantId = request.principal?.tenantId;
    if (typeof tenantId === 'string') addToLogContext({ tenantId });
    return next.handle();
  }
}
