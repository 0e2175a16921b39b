// Completes values that events have: types, and fields of metadata.
import type { CompletionContext, CompletionResult } from '@codemirror/autocomplete';

export const EVENT_TYPES = ['purchase', 'add_to_cart', 'view', 'install'];
const FIELDS = ['category', 'productId', 'paymentMethod', 'page', 'referrer', 'device', 'version', 'platform', 'source'];

export function completeValues(context: CompletionContext): CompletionResult | null {
  const type = context.matchBefore(/event_type\s*(?:=|<>|!=|in\s*\([^)]*)\s*'\w*/i);
  const field = context.matchBefore(/metadata\s*\[\s*'\w*/i);
  const found = type ?? field;
  if (!found) return null;
  const from = found.from + found.text.lastIndexOf("'") + 1;
  return { from, options: (type ? EVENT_TYPES : FIELDS).map((label) => ({ label, type: 'constant', boost: 5 })), validFor: /^\w*$/ };
}
