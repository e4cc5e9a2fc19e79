import type { KeyMode } from '#contracts/archive';

/** What each key mode means, in the words that stand in every answer about an archive. */
export const KEY_MODE_MEANS: Readonly<Record<KeyMode, string>> = {
  escrowed:
    'The provider holds the archive’s password, sealed, and can read what is archived. The site opens it by itself, and each opening is listed (GET /v1/archives/{id}/key-uses): so every recovery point is proven by a restore, and damage is found and repaired. A lost server or a lost password of your own loses nothing.',
  'customer-held':
    'Only your agent has the password, and the provider can read neither files nor their names. Keep a copy in a safe (mainstay-agent archive password NAME): if it is lost, the archive cannot be read by anybody, ever. Recovery points are not proven by restores at the site; checking and removing run at your agent, and stand still while it is away.',
};
