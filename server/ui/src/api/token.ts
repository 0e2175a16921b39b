// The token that calls carry, and whether the service asked for one.
import { useSyncExternalStore } from 'react';
import type { Problem } from './types';

const KEY = 'cohort.token';

export interface TokenState {
  token: string | null;
  /** Whether it outlives the tab. */
  remembered: boolean;
  /** The refusal that waits for another token. */
  refused: Problem | null;
}

function stored(): TokenState {
  const session = sessionStorage.getItem(KEY);
  const local = localStorage.getItem(KEY);
  return { token: session ?? local, remembered: session === null && local !== null, refused: null };
}

let state: TokenState | undefined;
const listeners = new Set<() => void>();

function change(next: Partial<TokenState>) {
  state = { ...current(), ...next };
  listeners.forEach((listener) => {
    listener();
  });
}

function current(): TokenState {
  state ??= stored();
  return state;
}

export const token = () => current().token;

export function setToken(value: string | null, remember: boolean) {
  sessionStorage.removeItem(KEY);
  localStorage.removeItem(KEY);
  if (value !== null) (remember ? localStorage : sessionStorage).setItem(KEY, value);
  notNow = false;
  change({ token: value, remembered: remember, refused: null });
}

let notNow = false;

/**
 * A call was refused: asks for another token. What is read again and again does not ask again after "not now", nor when
 * only its role is too low; the page shows that.
 */
export function refuse(problem: Problem, reading: boolean) {
  if (reading && (notNow || problem.status === 403)) return;
  change({ refused: problem });
}

/** Takes the question back. */
export function dismiss() {
  notNow = true;
  change({ refused: null });
}

export function useToken(): TokenState {
  return useSyncExternalStore((listener) => {
    listeners.add(listener);
    return () => listeners.delete(listener);
  }, current);
}
