import { z } from 'zod';

export const passwordBody = z.strictObject({ password: z.string().min(1).max(200) });
export type PasswordBody = z.infer<typeof passwordBody>;

export const codeBody = z.strictObject({ code: z.string().regex(/^\d{6}$/) });
export type CodeBody = z.infer<typeof codeBody>;

export const twoFactorSetUp = z
  .object({
    uri: z.string().meta({ description: 'otpauth:// address: show it as a QR code.' }),
    backupCodes: z.array(z.string()).meta({ description: 'Each signs in once without the app. Shown this once.' }),
  })
  .meta({ id: 'TwoFactorSetUp' });
