import { useMemo, useState } from 'react';
import type { SegmentInput } from '../../../api';
import { useCheck, type Checked } from './check';
import { formOf, meaningOf, missing, type Draft, type FormDraft, type Names } from './draft';

/** The other side of a draft, as the service says that it is. */
function follow(draft: Draft, found: Checked, names: Names): Draft {
  if (draft.side === 'form') return { ...draft, sql: found.sql, sqlFits: found.complete, formFits: true };
  const form = formOf(found.form, names);
  return { ...draft, sqlFits: true, ...(form ? { form, formFits: true } : { formFits: false }) };
}

/** A draft whose two sides follow each other, and what the service says of it. */
export function useDraft(initial: () => Draft, id: string | undefined, names: Names) {
  const [draft, setDraft] = useState(initial);
  const lacks = missing(draft);
  const { side, form, sql } = draft;
  const meaning = useMemo<SegmentInput | null>(() => (lacks === null ? meaningOf({ side, form, sql }) : null), [side, form, sql, lacks]);
  const check = useCheck(meaning, id);

  const [followed, setFollowed] = useState(check.result);
  if (check.result !== followed) {
    setFollowed(check.result);
    if (check.result?.ok) setDraft(follow(draft, check.result.found, names));
  }

  return {
    draft,
    setDraft,
    setForm: (changed: FormDraft) => {
      setDraft((d) => ({ ...d, side: 'form', form: changed, formFits: true }));
    },
    setSql: (changed: string) => {
      setDraft((d) => ({ ...d, side: 'sql', sql: changed }));
    },
    meaning,
    lacks,
    check,
  };
}
