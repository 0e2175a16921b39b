// Which results of a stream change a membership. Each window that a user qualifies in says "entered" again.

interface Result {
  userId: string;
  segmentId: string;
  event: string;
}

const MOST = 50_000;

/** Tells changes from repetitions; it remembers the newest state of users in segments. */
export class Changes {
  private readonly last = new Map<string, string>();

  /** Whether this is a change, as far as what came before tells. */
  take({ userId, segmentId, event }: Result): boolean {
    if (event !== 'entered' && event !== 'exited') return true;
    const key = `${segmentId}\n${userId}`;
    const before = this.last.get(key);
    this.last.delete(key);
    this.last.set(key, event);
    if (this.last.size > MOST) {
      for (const oldest of this.last.keys()) {
        this.last.delete(oldest);
        break;
      }
    }
    return before !== event;
  }
}
