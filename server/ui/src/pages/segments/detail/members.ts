// Members as a file.

/** Gives a file to the browser to keep. */
export function save(blob: Blob, name: string) {
  const url = URL.createObjectURL(blob);
  const link = document.createElement('a');
  link.href = url;
  link.download = name;
  link.click();
  // The browser has begun to read it by then.
  setTimeout(() => {
    URL.revokeObjectURL(url);
  }, 10_000);
}

/** A name for a file that all systems take. */
export const fileName = (segment: string, now: number) => `${segment.replace(/[^\w.-]+/g, '_')}-members-${new Date(now).toISOString().slice(0, 10)}.csv`;
