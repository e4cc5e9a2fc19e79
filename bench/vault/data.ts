import { randomBytes } from 'node:crypto';
import { appendFile, mkdir, open } from 'node:fs/promises';
import path from 'node:path';

const MIB = 2 ** 20;

/** So many mebibytes that no compression makes smaller, in files of 64 MiB. */
export async function largeFiles(folder: string, mebibytes: number): Promise<void> {
  await mkdir(folder, { recursive: true });
  for (let done = 0; done < mebibytes; done += 64) {
    const file = await open(path.join(folder, `${done}.bin`), 'w');
    for (let part = done; part < Math.min(done + 64, mebibytes); part += 1) await file.write(randomBytes(MIB));
    await file.close();
  }
}

/** Small files as offices have them: 100 to a folder, one to eight kilobytes each. */
export async function smallFiles(folder: string, count: number): Promise<void> {
  for (let number = 0; number < count; number += 1) {
    const where = path.join(folder, String(Math.floor(number / 100)));
    if (number % 100 === 0) await mkdir(where, { recursive: true });
    const file = await open(path.join(where, `${number}.txt`), 'w');
    await file.write(randomBytes(1_000 + (number % 8) * 1_000));
    await file.close();
  }
}

/** A day's work: something is added to every fiftieth file. */
export async function changeSome(folder: string, count: number): Promise<void> {
  for (let number = 0; number < count; number += 50) {
    await appendFile(path.join(folder, String(Math.floor(number / 100)), `${number}.txt`), randomBytes(500));
  }
}
