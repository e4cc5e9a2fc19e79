// A line that is far away, in a process of its own, so that its work is nobody else's.
import { ChaosProxy } from '#test/chaos-proxy';

export interface DelayEndConfiguration {
  readonly target: { readonly host: string; readonly port: number };
  readonly delayMs: number;
  readonly host: string;
}

process.once('message', ({ target, delayMs, host }: DelayEndConfiguration) => {
  const proxy = new ChaosProxy(target, { delayMs });
  void proxy.listen(0, host).then((port) => process.send?.({ port }));
});
process.once('disconnect', () => process.exit());
