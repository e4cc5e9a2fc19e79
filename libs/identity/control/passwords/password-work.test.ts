import { expect, it } from 'vitest';
import { PasswordWork } from './password-work.js';

it('a flood of strangers fills its own lane, and who has proved a token gets a new password hashed all the same', async () => {
  const passwords = new PasswordWork();
  const flood = Array.from({ length: 60 }, () => passwords.verify(undefined, 'four wet herons stood', 'later'));
  const outcomes = Promise.allSettled(flood);
  let over = false;
  void outcomes.then(() => (over = true));
  expect(await passwords.hash('four wet herons stood')).toMatch(/^\$argon2id\$/);
  expect(over).toBe(false);
  const refused = (await outcomes).filter(({ status }) => status === 'rejected');
  expect(refused).toHaveLength(10);
});
