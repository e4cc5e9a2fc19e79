/**
 * The environment for a process through which large buffers pass, such as a vault: glibc reads it when the process
 * starts (mallopt(3)). By itself it gives the memory of each piece back to the kernel and asks for it again; on uploads
 * that took more than half of the processor's time (`npm run bench -- vault`). It costs up to 64 MiB that stay with the
 * process. Other C libraries ignore it.
 */
export const LARGE_BUFFERS = {
  MALLOC_TRIM_THRESHOLD_: '67108864',
  MALLOC_MMAP_THRESHOLD_: '67108864',
} as const;
