import { z } from 'zod';

/** A text of the other end's, of which so many UTF-16 units are kept, without what a database or a log cannot take. */
export const cutText = (longest: number) =>
  z.string().overwrite((said) => said.slice(0, longest).toWellFormed().replaceAll('\0', '\uFFFD'));
